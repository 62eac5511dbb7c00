"""MT-Bench (paper Table 6, alignment): a model's answers to two turns of 80 conversations, rated by a judge.

The paper's judge is GPT-4. Here it is any command (params.yaml, published.judge): it reads conversations as JSON lines
{"id", "category", "turns": [question, question], "reference", "answers": [answer, answer]} on its standard input and
writes one rating from 1 to 10 a line, in their order. Without one nothing is generated. Answers are greedy, where
FastChat samples in some categories.
"""

import json
import math
import shlex
import subprocess

import numpy as np
from lm_eval.api.instance import Instance

from solid_utils.core.errors import StudyError
from solid_utils.core.numbers import standard_error
from solid_utils.core.scored import Scored, libraries
from solid_utils.evaluation.lean import LeanLM
from solid_utils.model import hub
from solid_utils.model.forward import TOKEN_BUDGET
from solid_utils.settings import data_params

REPO = "HuggingFaceH4/mt_bench_prompts"
NEW_TOKENS = 1024  # an answer, as in FastChat
VERSION = "1.0"


def mt_bench(model, tokenizer, settings: data_params.Published, limit: int | None = None) -> Scored:
    """One row and its items, ratings in [1, 10]; nothing, and one line that says so, where no judge is set.

    Raises StudyError where the questions are not to be had, and where the judge fails or gives no rating.
    """
    if settings.judge is None:
        print("MT-Bench: skipped, because no judge is set; published.judge in params.yaml names one")
        return Scored()
    questions = hub.load(REPO, settings).to_list()[:limit]
    ratings = judged(conversations(model, tokenizer, questions), settings.judge)
    same = {"benchmark": "MT-Bench"}
    items = [same | {"item": str(n), "value": rating, "weight": 1.0} for n, rating in enumerate(ratings)]
    return Scored([same | _row(np.array(ratings))], items)


def conversations(model, tokenizer, questions: list[dict]) -> list[dict]:
    """Both turns of every question, each turn generated for all at once."""
    lm, talks = LeanLM(model, tokenizer), [[] for _ in questions]
    for turn in range(2):
        for talk, question in zip(talks, questions, strict=True):
            talk.append({"role": "user", "content": question["prompt"][turn]})
        prompts = [prompt(tokenizer, talk) for talk in talks]
        settings = {"until": [], "max_gen_toks": NEW_TOKENS, "do_sample": False}  # a chat ends with its end token
        requests = [Instance("generate_until", {}, (text, settings), n) for n, text in enumerate(prompts)]
        for talk, answer in zip(talks, lm.generate_until(requests), strict=True):
            talk.append({"role": "assistant", "content": answer.strip()})
    return [
        {
            "id": question["prompt_id"],
            "category": question["category"],
            "turns": question["prompt"],
            "reference": question["reference"],
            "answers": [message["content"] for message in talk if message["role"] == "assistant"],
        }
        for question, talk in zip(questions, talks, strict=True)
    ]


def prompt(tokenizer, talk: list[dict]) -> str:
    """In the model's own chat template; plain roles for a model that has none."""
    if tokenizer.chat_template:
        return tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    return "".join(f"{message['role'].upper()}: {message['content']}\n" for message in talk) + "ASSISTANT:"


def judged(talks: list[dict], command: str) -> list[float]:
    """The judge's rating of each conversation. Raises StudyError where it fails or gives other than ratings."""
    lines = "".join(json.dumps(talk) + "\n" for talk in talks)
    try:
        done = subprocess.run(shlex.split(command), input=lines, capture_output=True, text=True, check=True)
        ratings = [float(line) for line in done.stdout.splitlines()]
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise StudyError(f"published.judge: '{command}' failed ({reason}); mend it, or set null to skip it") from None
    if len(ratings) != len(talks) or not all(1 <= rating <= 10 for rating in ratings):
        raise StudyError(
            f"published.judge: '{command}' must give a rating from 1 to 10 for each of {len(talks)} conversations, "
            f"gave {len(ratings)} lines"
        )
    return ratings


def _row(ratings: np.ndarray) -> dict:
    value, stderr = float(ratings.mean()), standard_error(ratings)
    score = {"metric": "rating", "value": value, "stderr": stderr, "n": len(ratings)}
    how = {"chance": math.nan, "floor": math.nan, "task_version": VERSION, "forward_tokens": TOKEN_BUDGET}
    return {"domain": "Alignment", "shots": 0} | score | how | {"libraries": libraries()}
