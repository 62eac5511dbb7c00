"""Distillation attacks (paper 3.1) and some beyond it: what each trains, what a run asks, pays and gets.

In: a study and the names of a model and a run.
Out: replicas, scores, curves, their cost.
Public: attack.Attack, declared.load, run.AttackRun, plan.Plan, launch.train, recorded.answered, linear_map.fit.
"""

from solid_utils.attacks.ft_all import FtAll
from solid_utils.attacks.ft_closed import FtClosed
from solid_utils.attacks.ft_closed_linear import FtClosedLinear
from solid_utils.attacks.least_squares import LeastSquares
from solid_utils.attacks.sem import Sem
from solid_utils.attacks.sem_linear import SemLinear
from solid_utils.attacks.stitch import Stitch

# A new attack is its file and its line here.
ATTACKS = (FtAll, FtClosed, FtClosedLinear, LeastSquares, Sem, SemLinear, Stitch)
