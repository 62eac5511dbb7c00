"""The paper's tables and what stands beside them here, as HTML and LaTeX (booktabs), named by the paper's numbers.

tables/paper/table_14.tex is the published table, table_14-MODEL.tex ours; all.tex, a document, shows every one of them.
"""

import re
from collections.abc import Mapping
from string import Template

import pandas as pd

from solid_utils.paper import paper, registry
from solid_utils.report.table import Table
from solid_utils.report.tables.published import counterpart

LONGEST = 60  # rows of a table that still fits a page
# What LaTeX reads as a command, and what its fonts lack.
ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",
        "±": r"$\pm$",
        "≥": r"$\geq$",
        "≤": r"$\leq$",
        "×": r"$\times$",
        "ε": r"$\varepsilon$",
        "·": r"$\cdot$",
        "→": r"$\rightarrow$",
        "–": "--",
        "—": "---",
        "“": "``",
        "”": "''",
        "‘": "`",
        "’": "'",
    }
)
FLOAT = Template(
    r"""% needs \usepackage{booktabs, graphicx}
\begin{table}[p]
\centering
\caption{$caption}
\label{tab:$label}
\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
$tabular}
\end{table}
"""
)
DOCUMENT = Template(
    r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{booktabs, graphicx}
\extrafloats{200}
\begin{document}
$inputs
\end{document}
"""
)
PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="stylesheet" href="../../pages/study.css">
</head>
<body>
<main>
<p><a href="../../pages/paper.html">The paper's tables</a> · <a href="$name.tex" download>LaTeX</a></p>
<div class="wide" tabindex="0" role="region" aria-label="The table, scrolls">
$table
</div>
</main>
</body>
</html>
"""
)


def latex(value: object) -> str:
    """A cell as LaTeX text: every sign that means something else there is escaped."""
    return str(value).translate(ESCAPES)


def published(number: int) -> pd.DataFrame:
    """A table of the paper as printed: a row a benchmark, a column a model, attack and secured set, as strings."""
    table = paper.published_table(number)
    if list(table.columns) != paper.LONG:
        return table.fillna("").astype(str)
    keys = [key for key in paper.COLUMN[1:] if table[key].nunique() > 1] or ["secured"]
    order = table[keys].drop_duplicates()
    table = table.assign(value=table["value"].map("{:.2f}".format))
    wide = table.pivot(index="row", columns=keys, values="value").loc[table["row"].unique()]
    wide = wide[[key if len(keys) > 1 else key[0] for key in order.itertuples(index=False, name=None)]]
    wide.columns = [", ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in wide.columns]
    return wide.fillna("").rename_axis(columns=None).reset_index().rename(columns={"row": "benchmark"})


def files(models: list[str], ours: Mapping[str, pd.DataFrame], tables: dict[str, Table]) -> dict[str, str]:
    """Every file by its name: of each table of the paper, and of ours beside it where rows are there, both kinds.

    `ours`: our tables by name; `tables`: how each is shown.
    """
    made = {}
    for key, item in registry.load().items():
        kind, number = key.split("_")
        if kind != "table":
            continue
        made |= both(key, published(int(number)), f"The paper's Table {number}: {item.shows}.")
        for model in models if item.table else []:
            rows = counterpart(ours[item.table], model, item)
            if len(rows) and len(shown := tables[item.table].compact(rows, printed=True)) <= LONGEST:
                title = f"Ours ({model}) beside the paper's Table {number}, which shows {item.shows}."
                made |= both(f"{key}-{model}", shown.astype(str), title)
    inputs = [f"\\input{{{name.removesuffix('.tex')}}}\n\\clearpage" for name in made if name.endswith(".tex")]
    return made | {"all.tex": DOCUMENT.substitute(inputs="\n".join(inputs))}


def both(name: str, table: pd.DataFrame, title: str) -> dict[str, str]:
    """NAME.html and NAME.tex of a table of strings."""
    plain = table.style.hide(axis="index").set_uuid(re.sub(r"\W", "_", name)).set_caption(title.translate(HTML))
    html = plain.format(escape="html").format_index(escape="html", axis=1).to_html()
    return {
        f"{name}.html": PAGE.substitute(name=name, title=title.translate(HTML), table=html),
        f"{name}.tex": as_latex(name, table, title),
    }


HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def as_latex(name: str, table: pd.DataFrame, title: str) -> str:
    """A float with a caption and a label; numbers to the right, words to the left."""
    kinds = ["r" if table[column].str.fullmatch(r"[-+±.,\[\]%\d ]*").all() else "l" for column in table.columns]
    styled = table.style.hide(axis="index").format(latex).format_index(latex, axis=1)
    tabular = styled.to_latex(hrules=True, column_format="".join(kinds))
    return FLOAT.substitute(caption=latex(title), label=name, tabular=tabular)
