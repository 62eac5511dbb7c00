"""Every file of the package is written by the writers of core, whole or not at all; each exception has a reason."""

import ast
from collections.abc import Iterator

import pytest

from solid_utils.core.rooms import PACKAGE

# Calls that write, move or remove, by the name that is called. Those of WRITERS are named for what they belong to.
ANYWHERE = {
    *("write_text", "write_bytes", "to_csv", "to_json", "to_parquet", "to_pickle", "to_excel", "savefig"),
    *("save_file", "save_pretrained", "save_model", "savetxt", "savez", "rmtree", "unlink", "copyfile", "copytree"),
    *("copyfileobj", "copy2", "touch", "symlink_to", "hardlink_to", "rmdir", "extractall", "execute_notebook"),
}
OWNED = {
    ("os", "remove"), ("os", "rename"), ("os", "replace"), ("os", "renames"), ("os", "truncate"), ("os", "link"),
    ("shutil", "move"), ("shutil", "copy"), ("torch", "save"), ("np", "save"), ("numpy", "save"), ("json", "dump"),
    ("yaml", "dump"), ("pickle", "dump"), ("nbformat", "write"), ("distributed_checkpoint", "save"),
}  # fmt: skip
MOVES = {"rename", "replace"}  # of a path: one argument, no text and no table's column names
WRITERS = {"files", "folders"}  # modules of core, whose functions of these names are the writers
ALLOWED = {
    # The writers themselves.
    ("core/files.py", "replace"): "the last step of a whole file",
    ("core/files.py", "unlink"): "a partial file after an error",
    ("core/folders.py", "rename"): "the last step of a whole folder",
    ("core/folders.py", "replace"): "the last step of each file of a stage",
    ("core/folders.py", "unlink"): "stale files, after the new ones are in their places",
    ("core/folders.py", "rmtree"): "partial folders",
    # By-products and unfinished work, which are no results.
    ("core/execute.py", "open"): "a line appended to build/timings.csv",
    ("core/execute.py", "execute_notebook"): "papermill saves after every cell: under another name than the copy's",
    ("core/execute.py", "unlink"): "what papermill saved, once the tidied copy stands under its own name",
    ("model/state.py", "rename"): "states, outside all outputs: kept under another name, or on their way out",
    ("model/state.py", "rmtree"): "a state that its stage no longer needs, its outputs being written",
    ("grid/shared.py", "unlink"): "the lock of a shared folder, which is no result",
    ("runtime/serve.py", "unlink"): "a socket that nobody serves, no file",
    ("runtime/counters.py", "unlink"): "a partial file that a killed process left, while the folder's lock is held",
    ("runtime/process.py", "open"): "what a server says, line by line while it runs",
    # Inside a folder or file that takes its place only at the end.
    ("raw/parts.py", "copyfileobj"): "the parts, one after the other, inside files.whole",
    ("raw/fetch.py", "open"): "into the partial folder of folders.whole, checked by sha256 there",
    ("raw/fetch.py", "copyfileobj"): "as open",
    ("raw/fetch.py", "rmtree"): "the folder of the downloads",
    ("data/offline/offline.py", "unlink"): "the mark of whole sets, while new ones are written",
    ("model/models.py", "save_pretrained"): "into a stage",
    ("model/models.py", "unlink"): "source.json, the mark of a whole model, while the files of a new one are moved",
    ("model/tensors.py", "open"): "the seal of a partial file",
    # No files of the study.
    ("report/picture.py", "savefig"): "into memory",
    ("report/pages/site.py", "to_csv"): "into a text",
    ("model/loading.py", "symlink_to"): "in a temporary folder",
    ("evaluation/jail.py", "rmdir"): "the jail's own files, in its own file system",
    ("attacks/launch.py", "open"): "the null device",
    ("evaluation/jail.py", "open"): "the jail's own files, in its own file system",
}


def writes(source: str) -> Iterator[tuple[int, str]]:
    """(line, name) of every call that writes and does not write into what `whole` or `together` gave."""
    yield from _within(ast.parse(source), frozenset())


def _within(node: ast.AST, partial: frozenset[str]) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.With):
        for item in node.items:
            called = getattr(item.context_expr, "func", None)
            named = isinstance(called, ast.Name) or _owner(called) in WRITERS
            if named and getattr(called, "attr", getattr(called, "id", "")) in {"whole", "together", "staged"}:
                partial |= {
                    name.id for name in ast.walk(item.optional_vars or ast.Pass()) if isinstance(name, ast.Name)
                }
    if isinstance(node, ast.Call) and (name := _writes(node)):
        mentioned = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        if not mentioned & partial:
            yield node.lineno, name
    for child in ast.iter_child_nodes(node):
        yield from _within(child, partial)


def _owner(called: ast.AST) -> str:
    return getattr(getattr(called, "value", None), "id", "")


def _writes(call: ast.Call) -> str:
    """The name of a call that writes; empty where it does not."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    owner = _owner(call.func)
    if owner in WRITERS or (isinstance(call.func, ast.Name) and name == "write_text"):  # a function: that of files
        return ""
    if name in ANYWHERE or (owner, name) in OWNED:
        return name
    if name == "open":
        modes = [*call.args[:2], *(word.value for word in call.keywords if word.arg == "mode")]
        texts = [part.value for part in modes if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        return name if any(set(text) <= set("rwaxbt+") and set(text) & set("wax+") for text in texts) else ""
    if name in MOVES and isinstance(call.func, ast.Attribute) and len(call.args) == 1 and not call.keywords:
        return "" if isinstance(call.args[0], ast.Constant | ast.Dict) else name
    return ""


def found() -> dict[tuple[str, str], list[str]]:
    places = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, name in writes(path.read_text(encoding="utf8")):
            file = str(path.relative_to(PACKAGE))
            places.setdefault((file, name), []).append(f"solid_utils/{file}:{line}: {name}")
    return places


def test_the_package_writes_by_its_writers():
    wrong = [line for place, lines in found().items() if place not in ALLOWED for line in lines]
    assert not wrong, f"write by files.whole, files.write_text or folders.whole, or say why not in ALLOWED: {wrong}"


def test_no_exception_outlives_its_reason():
    assert not set(ALLOWED) - set(found())


@pytest.mark.parametrize(
    "code",
    [
        "path.write_text('')", "path.open('w')", "open(path, 'ab')", "open(path, mode='x')", "path.open(mode='r+b')",
        "table.to_csv(path)", "shutil.rmtree(path)", "os.replace(a, b)", "a.replace(b)", "a.rename(b)",
        "shutil.move(a, b)",
        "json.dump(a, file)", "torch.save(a, b)", "model.save_pretrained(folder)", "figure.savefig(path)",
        "with files.whole(path) as partial:\n    other.write_text('')",
        "with other.whole(path) as partial:\n    partial.write_text('')",
    ],
)  # fmt: skip
def test_what_writes_in_place_is_seen(code):
    assert len(list(writes(code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "files.write_text('', path)", "path.open('rb')", "open(path)", "text.replace('a', 'b')", "text.replace(a, b)",
        "series.rename('a')", "table.rename(columns=a)", "table.replace({'a': b})", "dataclasses.replace(a, b=c)",
        "with files.whole(path) as partial:\n    partial.write_text('')",
        "with folders.whole(path) as partial:\n    shutil.copytree(kept, partial / 'a')",
        "with files.whole(path) as partial:\n    table.to_csv(partial)",
    ],
)  # fmt: skip
def test_what_reads_or_writes_whole_passes(code):
    assert not list(writes(code))
