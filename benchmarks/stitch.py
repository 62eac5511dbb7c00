"""What one linear map in place of layer 0 recovers, by queries: no training at all (attacks/linear_map.py).

    make bench B=stitch          a minute or two on 2 CPU cores; needs `dvc repro victim@smollm2-135m`

Next-token agreement with the victim on held-out answers of the attack's kind, and on all tokens of web documents (C4),
which are not. Queries are texts of at most 128 tokens, each asked once; the penalty is chosen on every ninth of them.
"""

import time

import torch

from solid_utils.attacks import linear_map
from solid_utils.core.scored import Scored
from solid_utils.deployment import oracle, starts
from solid_utils.deployment.secured import secured_set
from solid_utils.evaluation import fidelity
from solid_utils.model import models, sampling
from solid_utils.settings import params

MODEL, SECURED, TEXT, PREVIOUS, SEED = "smollm2-135m", "layers 0", 128, 2, 42
QUERIES = (0, 25, 100, 250, 1000)
DOCUMENTS, LENGTH = 32, 128


def agreement(scored: Scored) -> str:
    row = scored.rows[0]
    return f"{row['value']:.1%} ± {row['stderr']:.1%} of {row['n']:,} tokens"


def main() -> None:
    study = params.load()
    torch.set_num_threads(study.threads)
    spec, budget = study.model(MODEL), study.budgets(MODEL)
    victim, tokenizer, _ = models.load_victim(MODEL, spec)
    secured = secured_set(victim, SECURED)
    sets = {
        "answers": sampling.samples("evaluation", tokenizer, budget.length, budget.evaluation.samples),
        "C4": sampling.apart(tokenizer, LENGTH, DOCUMENTS)["c4"],
    }
    for queries in QUERIES:
        begun, asked = time.perf_counter(), oracle.Oracle(victim, secured, tokenizer.pad_token_id)
        attacker = models.open_part(victim, secured.names)
        starts.apply(attacker, starts.draw(attacker, secured.names, "xavier", SEED))
        with models.precision(spec):
            if queries:
                texts = sampling.texts("attack", tokenizer, TEXT, queries)
                weights = linear_map.fit(attacker, asked, texts, PREVIOUS)
                linear_map.install(attacker, asked.view, weights.bfloat16().float())
            fitted = time.perf_counter() - begun
            found = {name: agreement(fidelity.fidelity(attacker, victim, tokenizer, one)) for name, one in sets.items()}
        said = ", ".join(f"{name} {value}" for name, value in found.items())
        cost = f"{asked.sequences:,} queries, {asked.tokens:,} tokens, {fitted:.0f} s"
        print(f"stitch on {SECURED}: {cost}: {said}", flush=True)


if __name__ == "__main__":
    main()
