"""One door to a model's tokenizer: read as data, never as code, and settled once on what the study relies on.

After `settle`: there is an end token, it lies in the model's vocabulary and ends every generation; padding has a token
(the end's where there is none: padding is masked everywhere); a text becomes its own tokens after what the model begins
with (such as BOS), nothing is appended, cut or padded; `model_max_length` is how many tokens the model has positions
for; the model's own configuration says the same. Chat templates are kept, and run only where MT-Bench asks.
"""

from pathlib import Path

from tokenizers import processors
from transformers import AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from solid_utils.core.errors import StudyError
from solid_utils.model.structure import positions

# Of a folder: without one of these Transformers makes up a tokenizer of three tokens.
FILES = ("tokenizer.json", "*.model", "vocab.*", "*.vocab", "merges.txt", "*.tiktoken", "tekken.json", "vocab-*")
PROBE = "The answer is 42."
BEFORE = "\n"  # a text that another one follows in `going_on`: no tokenizer known to us joins it to a word
ROWS = "rows_of_the_model"  # attribute of a settled tokenizer: token ids are below it
NO_LIMIT = VERY_LARGE_INTEGER  # Transformers' own word for it, which lm-eval knows too


def load(place: Path | str, model: PreTrainedModel, **how: str) -> PreTrainedTokenizerBase:
    """The settled tokenizer of `model` from a folder, a hub id (`revision`) or beside a GGUF file (`gguf_file`).

    Raises StudyError where it is missing, cannot be read, needs code of its own, or does not fit the model.
    """
    folder = Path(place)
    if "gguf_file" not in how and folder.is_dir() and not any(path for name in FILES for path in folder.glob(name)):
        raise StudyError(f"{place}: no tokenizer there; save the model's own beside it with save_pretrained")
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **how)
    except Exception as error:  # of any kind: those of the library in Rust have no class of their own
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise StudyError(
            f"{place}: tokenizer cannot be read ({why}); save there one that needs no code of its own and has a "
            "tokenizer.json"
        ) from None
    return settle(tokenizer, model, str(place))


def settle(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, place: str) -> PreTrainedTokenizerBase:
    """The tokenizer with the promises above kept, in place, and the model's configuration in step with it.

    `model` may be on the meta device; `place` is named in errors. Raises StudyError where a promise cannot be kept.
    """
    rows = vocabulary(model)
    if tokenizer.eos_token_id is None:
        raise StudyError(f"{place}: the tokenizer has no end-of-sequence token; set eos_token and save it again")
    if tokenizer.pad_token_id is None:  # Llama-2, Mistral-7B, Phi-1.5 and Phi-2 have none
        tokenizer.pad_token = tokenizer.eos_token
    _within(tokenizer, rows, place)
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()  # a tokenizer.json may keep both from its training
        tokenizer.backend_tokenizer.no_padding()
    _nothing_appended(tokenizer, place)
    if outside := [token for token in _framed(tokenizer)[0] if token >= rows]:
        raise StudyError(
            f"{place}: the tokenizer begins every text with token {outside[0]}, the model has {rows}; use its own"
        )
    own = tokenizer.encode(PROBE, add_special_tokens=False)
    if own and set(own) <= {tokenizer.unk_token_id}:
        raise StudyError(f"{place}: the tokenizer knows no word of '{PROBE}'; save the model's own there")
    tokenizer.padding_side = "right"
    tokenizer.model_max_length = positions(model) or NO_LIMIT  # what files say is often junk, such as 10**30 or 512
    setattr(tokenizer, ROWS, rows)
    # Long texts are cut or refused where samples are made; Transformers would warn of them as of an error to come.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    _in_step(tokenizer, model, place)
    return tokenizer


def vocabulary(model: PreTrainedModel) -> int:
    """How many tokens a model has: the rows of its embeddings, or of its head where these are fewer."""
    ends = model.get_input_embeddings(), model.get_output_embeddings()
    return min(end.weight.shape[0] for end in ends if end is not None)


def _within(tokenizer: PreTrainedTokenizerBase, rows: int, place: str) -> None:
    """Raises StudyError where the end, the padding or any ordinary token lies outside of the model's vocabulary.

    Added tokens may: Gemma 3's text models lack a row for the image token that their tokenizer has. See `_checked`.
    """
    for key in ("eos_token", "pad_token"):
        token, number = getattr(tokenizer, key), getattr(tokenizer, f"{key}_id")
        if not 0 <= number < rows:
            hint = "; delete pad_token from its configuration and the end token pads" if key == "pad_token" else ""
            raise StudyError(
                f"{place}: {key} '{token}' is token {number}, outside of the model's {rows}; save the model's own "
                f"tokenizer there{hint}"
            )
    added = tokenizer.added_tokens_decoder
    most = max((number for number in tokenizer.get_vocab().values() if number not in added), default=0)
    if most >= rows:
        raise StudyError(
            f"{place}: the tokenizer's tokens go up to {most}, the model has {rows}; save the model's own tokenizer "
            "there, or resize the model's embeddings"
        )


def _framed(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after the tokens of a text."""
    own, whole = tokenizer.encode(PROBE, add_special_tokens=False), tokenizer.encode(PROBE)
    places = range(len(whole) - len(own) + 1)
    first = next((place for place in places if whole[place : place + len(own)] == own), 0)
    return whole[:first], whole[first + len(own) :]


def _nothing_appended(tokenizer: PreTrainedTokenizerBase, place: str) -> None:
    """An EOS after every text would stand between a prompt and its answer; what comes before a text stays."""
    before, after = _framed(tokenizer)
    if not after:
        return
    if not tokenizer.is_fast:
        raise StudyError(
            f"{place}: the tokenizer appends {tokenizer.convert_ids_to_tokens(after)} to every text; save it with a "
            "tokenizer.json that does not"
        )
    begin = [{"id": "begin", "ids": before, "tokens": tokenizer.convert_ids_to_tokens(before)}] if before else []
    single = ["begin"] * bool(before) + ["$A"]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=[*single, "$B"], special_tokens=begin
    )


def _in_step(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, place: str) -> None:
    """The model's configuration gets the tokenizer's padding, and its generation settings what pads and what ends.

    All else in those goes: every answer here is greedy, and a repetition penalty would make a generated answer another
    than the one that the model reads as most likely.
    """
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    # Where the end token pads, its row is one that is read (OPT begins every text with it) and must get its gradient.
    model.get_input_embeddings().padding_idx = None
    known = model.generation_config or GenerationConfig()
    ends = known.eos_token_id  # none, one or several
    ends = [] if ends is None else list(ends) if isinstance(ends, list | tuple) else [ends]
    if outside := [end for end in ends if not 0 <= end < vocabulary(model)]:
        raise StudyError(
            f"{place}: eos_token_id {outside[0]} of config.json or generation_config.json is outside of the model's "
            f"{vocabulary(model)} tokens; set it to {tokenizer.eos_token_id}, the tokenizer's"
        )
    if tokenizer.eos_token_id not in ends:  # samples end with it, so an answer does
        ends = [*ends, tokenizer.eos_token_id]
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends[0] if len(ends) == 1 else ends,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=known.use_cache,
    )


def begun(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text after what the model begins with, once: a text may bring its BOS along, as chats do."""
    bos = getattr(tokenizer, "bos_token", None)
    return _ids(tokenizer, text, begin=not bos or not text.startswith(bos))


def going_on(tokenizer: PreTrainedTokenizerBase, text: str, spaced: bool) -> list[int]:
    """Token ids of a text that goes on from another one: no BOS, and no space that the tokenizer puts before a word.

    Llama's tokenizers begin every text with a space, which would stand between a prompt and its answer. `spaced` is
    what `spaces_first` says of the tokenizer, asked once for many texts: each question takes three texts.
    """
    if spaced:
        gone, whole = _ids(tokenizer, BEFORE), _ids(tokenizer, BEFORE + text)
        if whole[: len(gone)] == gone:
            return whole[len(gone) :]
    return _ids(tokenizer, text)


def spaces_first(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Does it read a text as if a space stood before it?"""
    gone, alone, after = (_ids(tokenizer, text) for text in (BEFORE, "a", BEFORE + "a"))
    return after[: len(gone)] == gone and after[len(gone) :] != alone


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, begin: bool = False) -> list[int]:
    """Token ids of a text. Raises StudyError where it has a token that the model lacks."""
    ids = tokenizer(text, add_special_tokens=begin).input_ids
    rows = getattr(tokenizer, ROWS, None)
    if rows is not None and max(ids, default=0) >= rows:
        token = tokenizer.convert_ids_to_tokens(max(ids))
        raise StudyError(
            f"text '{text[:40]!r}': '{token}' is token {max(ids)}, the model has {rows}; leave it out of the text"
        )
    return ids
