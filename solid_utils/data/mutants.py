"""Wrong twins of a Python solution: one token of its text replaced, found on its syntax tree. Nothing is ever run."""

import ast
from collections.abc import Callable, Iterator
from itertools import chain, pairwise

# A symbol, and another of the same kind that takes its place: one token for another, so that lengths stay equal.
SYMBOLS = {
    ast.Lt: ("<", ">"),
    ast.Gt: (">", "<"),
    ast.LtE: ("<=", ">="),
    ast.GtE: (">=", "<="),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.Div: ("/", "*"),
    ast.Mod: ("%", "//"),
    ast.FloorDiv: ("//", "%"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
Edit = tuple[int, int, str]  # first byte, last byte + 1, new text
Span = Callable[[ast.expr], tuple[int, int]]  # a node's first byte and last byte + 1


def mutants(prompt: str, solution: str) -> list[str]:
    """Every wrong twin of `solution`, the code that completes `prompt`, in the order of their places in the text.

    A comparison turned, an arithmetic or logical operator, an integer off by one, a boolean, or a variable replaced by
    another one of the function that is bound before and as long. Formatting stays as it is.
    """
    code = (prompt + solution).encode()
    first = len(prompt.encode())
    edits = sorted(edit for edit in set(_edits(code)) if edit[0] >= first)
    return [(code[first:start] + new.encode() + code[end:]).decode() for start, end, new in edits]


def _edits(code: bytes) -> Iterator[Edit]:
    tree, span = ast.parse(code), _spans(code)
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            nodes = list(_own_nodes(function))
            bound = _bound(function, nodes, span)
            for node in nodes:
                yield from _other_symbols(node, code, span)
                yield from ((*span(node), text) for text in _other_constants(node))
                yield from ((*span(node), name) for name in _other_variables(node, bound, span))


def _spans(code: bytes) -> Span:
    starts = [0]
    for line in code.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return lambda node: (
        starts[node.lineno - 1] + node.col_offset,
        starts[node.end_lineno - 1] + node.end_col_offset,
    )


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes below a function, without functions inside it and f-strings (Python 3.11 does not know places there)."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.JoinedStr):
            yield child
            yield from _own_nodes(child)


def _bound(function: ast.FunctionDef, nodes: list[ast.AST], span: Span) -> dict[str, int]:
    """Variables of a function and the byte from which on they have a value: arguments, assignments, loops."""
    bound = {argument.arg: 0 for argument in function.args.args}
    for node in nodes:
        if isinstance(node, ast.Assign | ast.For):
            targets, last = (node.targets, node.value) if isinstance(node, ast.Assign) else ([node.target], node.iter)
            for name in chain.from_iterable(map(ast.walk, targets)):
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                    bound.setdefault(name.id, span(last)[1])
    return bound


def _other_symbols(node: ast.AST, code: bytes, span: Span) -> Iterator[Edit]:
    for operator, left, right in _operations(node):
        if type(operator) in SYMBOLS:
            old, new = SYMBOLS[type(operator)]
            start = code.index(old.encode(), span(left)[1], span(right)[0])  # but blanks and brackets
            yield start, start + len(old), new


def _operations(node: ast.AST) -> list[tuple[ast.AST, ast.expr, ast.expr]]:
    """(operator, left, right) of every operator in a node."""
    match node:
        case ast.BinOp(left, operator, right) | ast.AugAssign(left, operator, right):
            return [(operator, left, right)]
        case ast.BoolOp(operator, values):
            return [(operator, left, right) for left, right in pairwise(values)]
        case ast.Compare(left, operators, comparators):
            sides = pairwise([left, *comparators])
            return [(operator, *pair) for operator, pair in zip(operators, sides, strict=True)]
    return []


def _other_constants(node: ast.AST) -> list[str]:
    """An integer off by one with as many digits, the other boolean."""
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool):
        return [str(not value)]
    if isinstance(value, int):
        return [str(other) for other in (value - 1, value + 1) if other >= 0 and len(str(other)) == len(str(value))]
    return []


def _other_variables(node: ast.AST, bound: dict[str, int], span: Span) -> list[str]:
    """Variables as long as the one that is read here, and bound before."""
    if not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in bound):
        return []
    place, length = span(node)[0], len(node.id)
    return [name for name, since in bound.items() if name != node.id and len(name) == length and since < place]
