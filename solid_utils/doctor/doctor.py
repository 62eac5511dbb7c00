"""The doctor's visit: settings, machine and plan, a line each; what is missing bears its fix.

python -m solid_utils.doctor                                  this machine, the settings of params.yaml
python -m solid_utils.doctor --memory 24GB --rate 60e12       as if its device were another: plan a GPU run on a laptop
python -m solid_utils.doctor --params FILE                    other settings

Rates of a device that is not here are guesses, so are EFFICIENCY and STEP: no run on a GPU has checked them.
"""

import argparse
import shutil
from pathlib import Path

import torch

from solid_utils.attacks import declared
from solid_utils.doctor import checks, shapes, work
from solid_utils.doctor.checks import Check
from solid_utils.doctor.work import Stage
from solid_utils.model import accelerator
from solid_utils.recommend.options import byte_count
from solid_utils.recommend.plan import amount, duration
from solid_utils.settings import params

EFFICIENCY = 0.4  # of the fastest matrix product, over a whole stage
STEP = 1e-3  # seconds a layer and decoding step at least: a small batch waits for its launches
PATIENCE = 24 * 3600.0  # seconds that a CPU may take before a GPU counts as missing


def seconds(stage: Stage, layers: int, multiply: float, draw: float) -> float:
    """FLOPs at EFFICIENCY of the device's `multiply` FLOP/s, decoding steps, and random numbers at `draw` a second."""
    return stage.flops / (EFFICIENCY * multiply) + stage.decoded * layers * STEP + stage.drawn / draw


def main(argv: list[str] | None = None) -> int:
    """Print all; 1 where something is missing, else 0. Raises StudyError where the settings are wrong."""
    chosen = arguments(argv)
    study = declared.load(chosen.params)
    print(f"tier {study.tier}, models {', '.join(study.study.models)}: settings are right")
    found = checks.checks(study)
    for check in found:
        print(check, flush=True)
    for check in planned(study, chosen.memory, chosen.rate):
        found.append(check)
        print(check)
    missing = [check for check in found if not check.well]
    print(f"{len(missing)} missing: {', '.join(check.what for check in missing)}" if missing else "nothing is missing")
    return 1 if missing else 0


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the chosen settings need, and what of it is missing here.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the settings (params.yaml)")
    parser.add_argument("--memory", type=byte_count, help="as if there were a GPU with so much, e.g. 24GB")
    parser.add_argument("--rate", type=float, help="FLOP/s of its matrix products, e.g. 60e12, instead of measured")
    return parser.parse_args(argv)


def planned(study: params.Params, room: float | None, rate: float | None) -> list[Check]:
    """Prints every stage; the checks of memory, disk and time."""
    there, gpu = room or accelerator.memory_share(), bool(room) or accelerator.device().type == "cuda"
    found, disk, scratch, total = [], 0.0, 0.0, 0.0
    draw = accelerator.draw_rate()
    for name in study.study.models:
        spec, config = study.model(name), shapes.shape(study, name)
        if config is None:
            found.append(Check(f"plan of {name}", "its shape is not known before it is here; no estimate"))
            continue
        multiply = rate or accelerator.matmul_rate(dtype(spec), accelerator.device())
        stages = work.stages(study, name, work.skeleton_of(config, spec), there, gpu)
        layers = config.get_text_config().num_hidden_layers
        print(f"plan of {name} at {amount(multiply)}FLOP/s, of which {EFFICIENCY:.0%} are counted on:")
        for stage in stages:
            taken = seconds(stage, layers, multiply, draw)
            total, disk, scratch = total + taken, disk + stage.disk, max(scratch, stage.scratch)
            print(f"  {stage.name:<32} {amount(stage.flops)}FLOP, {amount(stage.memory)}B, {duration(taken)}")
        found.append(fitting(name, stages, there))
    return [*found, space(disk + scratch), patience(total, rate)]


def dtype(spec: params.Model) -> torch.dtype:
    return torch.bfloat16 if spec.products else torch.float32


def fitting(name: str, stages: list[Stage], there: float) -> Check:
    """Does every stage fit the device's memory?"""
    large = [stage for stage in stages if stage.memory > there]
    most = max(stages, key=lambda stage: stage.memory)
    said = ", ".join(f"{stage.name} {amount(stage.memory)}B" for stage in large)
    return Check(
        f"memory for {name}",
        f"{said or f'at most {amount(most.memory)}B ({most.name})'} of {amount(there)}B",
        not large,
        "leave these out of study, lower their batch or device_tokens, or train by method: lora",
    )


def space(needed: float) -> Check:
    free = shutil.disk_usage(".").free
    found = f"at most {amount(needed)}B needed, {amount(free)}B free"
    return Check("disk", found, needed <= free, "free some, e.g. by `dvc gc -w`")


def patience(total: float, rate: float | None) -> Check:
    """The time of all stages; too long for a CPU is a missing GPU."""
    slow = rate is None and accelerator.device().type == "cpu" and total > PATIENCE
    fix = "take a GPU or a smaller tier; set autocast: auto in configs/models.yaml where the CPU is slow in bfloat16"
    return Check("time", f"about {duration(total)} in all", not slow, fix)
