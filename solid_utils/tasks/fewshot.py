"""Where tasks take their worked examples from, when they do not stand in the YAML."""

from pathlib import Path

import lm_eval
from lm_eval.api.samplers import ContextSampler
from lm_eval.tasks._yaml_loader import load_yaml

from solid_utils.core.errors import StudyError


class OwnSubject(ContextSampler):
    """The first examples that a question carries with it: MMLU's are of the question's own subject.

    lm-eval tells a sampler which question is asked only where `fewshot_split` is the split of the questions.
    """

    def sample(self, n: int, eval_doc: dict, **kwargs) -> list[dict]:
        examples = eval_doc["examples"]
        if n > len(examples):
            raise StudyError(f"num_fewshot: {n} asked, {len(examples)} held out; raise data.benchmark.mmlu_examples")
        return examples[:n]


def gsm8k_cot() -> list[dict]:
    """The eight of Wei et al. (2022), from lm-eval's own task."""
    original = Path(lm_eval.__file__).parent / "tasks" / "gsm8k" / "gsm8k-cot.yaml"
    return load_yaml(original)["fewshot_config"]["samples"]
