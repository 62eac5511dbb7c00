"""Points of the audit about numbers that are printed twice: labels, copies that differ, copies that should not be."""

import pandas as pd

from solid_utils.paper import paper
from solid_utils.paper.audit_tools import DD, differing, ft_all, insist, printed, ratios

# What Tables 26, 27, 34 and 35 print as a row's label -> what the row is. The files carry the right labels.
MOVED = {
    "OpenBookQA": "LAMBADA",
    "LAMBADA": "BoolQ",
    "BoolQ": "SQuADv2_EM",
    "SQuADv2_EM": "SQuADv2_F1",
    "SQuADv2_F1": "OpenBookQA",
}


def row_labels() -> pd.DataFrame:
    """1: five row labels of Tables 26, 27, 34, 35 are moved: printed so they contradict Table 15."""
    stored, known = ft_all(27, "Llama2-7B", "*"), ft_all(15, "Llama2-7B", "Fully-secured")
    as_printed = stored.rename(index={right: label for label, right in MOVED.items()})
    insist(differing(stored, known, ("right", "Table 15")).empty, "Table 27 equals Table 15 under the right labels")
    wrong = differing(as_printed[stored.index], known, ("Table 27 as printed", "Table 15"))
    insist(set(wrong.index) == set(MOVED), "Table 27 contradicts Table 15 in five rows as printed")
    return wrong


def squad_f1() -> pd.DataFrame:
    """7: Llama2-7B, SOLID: F1 of SQuADv2 is 0.49 in Table 15 and 1.05 in Tables 25 and 26; all other rows agree."""
    first = ft_all(15, "Llama2-7B", "SOLID")
    again = paper.column(25, "Llama2-7B", "FT-all-51K", "SOLID")
    wrong = differing(first, again, ("Table 15", "Table 25"))
    insist(list(wrong.index) == ["SQuADv2_F1"], "SQuADv2_F1 alone differs between Tables 15 and 25")
    insist(differing(again, ft_all(26, "Llama2-7B", "0"), ("25", "26")).empty, "Tables 25 and 26 agree")
    return wrong


def phi_2_solid() -> pd.DataFrame:
    """8: Phi-2, SOLID: Table 16 differs from Table 30 in four rows by 1, 2.5, 2 and 2; the others are equal."""
    wrong = differing(ft_all(16, "Phi-2", "SOLID"), ft_all(30, "Phi-2", "0"), ("Table 16", "Table 30"))
    insist(set(wrong.index) == {"OpenBookQA", "LAMBADA", "BoolQ", "MMLU"}, "four rows of Phi-2 SOLID differ")
    return wrong.assign(difference=wrong["Table 30"] - wrong["Table 16"])


def phi_2_fully_secured() -> pd.DataFrame:
    """9: Phi-2, fully secured: Table 16 differs from Table 31 in four rows; the printed average fits Table 31."""
    first, second = ft_all(16, "Phi-2", "Fully-secured"), ft_all(31, "Phi-2", "*")
    wrong = differing(first, second, ("Table 16", "Table 31"))
    rows = {"OpenBookQA", "BoolQ", "SQuADv2_EM", "SQuADv2_F1"}
    insist(set(wrong.index) == rows, "four rows of Phi-2 fully secured differ")
    average = printed((31, "Phi-2", "FT-all", "*"), "avg_performance_score")
    insist(abs(second.mean() - average) < 0.011 < abs(first.mean() - average), "the average fits Table 31 alone")
    return wrong


COPIES = [  # (model, row, first table and column, second table and column): one cell, two values
    ("Mistral-7B", "ARC-easy", (15, "SOLID"), (28, "0")),
    ("Phi-1.5", "HellaSwag", (40, "3%"), (41, "50M")),
    ("Phi-1.5", "ARC-easy", (40, "3%"), (41, "50M")),
    ("Phi-1.5", "HellaSwag", (32, "0-1"), (41, "100M")),
    ("Llama2-7B", "GSM8K", (34, "0.25%"), (35, "20M")),
]


def other_copies() -> pd.DataFrame:
    """10: five more cells of one model, attack and set have two values; {0} of Table 34 is another run."""
    rows = []
    for model, row, (first, left), (second, right) in COPIES:
        values = ft_all(first, model, left)[row], ft_all(second, model, right)[row]
        insist(values[0] != values[1], f"{model} {row} differs between Tables {first} and {second}")
        rows.append([model, row, f"Table {first}, {left}", values[0], f"Table {second}, {right}", values[1]])
    runs = differing(ft_all(26, "Llama2-7B", "0"), ft_all(34, "Llama2-7B", "3%"), ("26", "34"))
    insist(len(runs) > 8, "the set {0} is another run in Table 34")
    return pd.DataFrame(rows, columns=["model", "row", "first", "value", "second", "value there"])


DIFFICULTIES = [  # model, what is secured, and where its one difficulty is printed
    ("Phi-1.5", "all", (32, "*"), (40, "100%")),
    ("Mistral-7B", "layer 0", (28, "0"), (36, "3%")),
    ("Mistral-7B", "layer 0", (36, "3%"), (37, "200M")),
    ("Phi-2", "layers 0-1", (30, "0"), (39, "160M")),
    ("Phi-1.5", "layers 0-1", (32, "0-1"), (41, "100M")),
    ("Llama2-7B", "layer 0", (26, "0"), (34, "3%")),
]


def difficulties() -> pd.DataFrame:
    """11: the distillation difficulty of one set, which no attack can change, is printed with several values."""
    rows = []
    for model, secured, first, second in DIFFICULTIES:
        values = [printed((table, model, "FT-all", name), DD) for table, name in (first, second)]
        insist(values[0] != values[1], f"two difficulties of {model}, {secured}")
        rows.append([model, secured, f"Table {first[0]}", values[0], f"Table {second[0]}", values[1]])
    return pd.DataFrame(rows, columns=["model", "secured", "first", "DD", "second", "DD there"])


def solid_of_70b() -> pd.DataFrame:
    """16: Llama2-70B's SOLID is said to secure one layer of 80; its columns are those of two (Tables 12 and 13)."""
    one, two = ft_all(14, "Llama2-70B", "SOLID"), ft_all(13, "Llama2-70B", "Semi-Open-1")
    insist(differing(one, two, ("14", "13")).empty, "Table 14's SOLID is Table 13's column of two layers")
    tasks = {
        number: paper.result_table(number).pivot(index="row", columns="secured", values="value") for number in (12, 17)
    }
    same = (tasks[12]["Bottom2-Secured"] == tasks[17]["SOLID"][tasks[12].index]).all()
    insist(bool(same), "Table 17's SOLID is Table 12's column of two layers")
    layers = int(paper.published_table(3).set_index("size").loc["70B", "decoder_layers"])
    return pd.DataFrame({"layers": [1, 2], "share (%)": [100 / layers, 200 / layers]}, index=["text", "tables"])


def table_1_cells() -> pd.DataFrame:
    """17: other cells of Table 1: Phi-2's OpenBookQA is its NaturalQuestions, and a HellaSwag ratio is 3 points off."""
    table = paper.result_table(1)
    mine = table[table["model"] == "Phi-2"].set_index(["secured", "row"])["value"]
    rows = []
    for secured, row in [("SOLID", "OpenBookQA"), ("SAP-DP", "OpenBookQA"), ("SAP-DP", "HellaSwag")]:
        right = ratios(ft_all(16, "Phi-2", secured), "Phi-2")[row]
        insist(abs(mine[secured, row] - right) > 1, f"Table 1's {row} of Phi-2, {secured}, is not Table 16's ratio")
        rows.append([secured, row, mine[secured, row], right])
    return pd.DataFrame(rows, columns=["secured", "row", "Table 1 prints", "Table 16 gives"])


def sem_of_mistral() -> pd.DataFrame:
    """19: Table 24's SEM column of Mistral-7B, SOLID, equals Table 15's FT-all, fully secured, in 15 of 17 rows."""
    sem, other = paper.column(24, "Mistral-7B", "SEM", "SOLID"), ft_all(15, "Mistral-7B", "Fully-secured")
    wrong = differing(sem, other, ("Table 24, SEM on SOLID", "Table 15, FT-all fully secured"))
    insist(len(wrong) <= 2, "two attacks on two deployments agree in 15 rows")
    return wrong


def finance() -> pd.DataFrame:
    """22: Finance of Llama2-70B, fully secured: 37.54 in Table 12, 55.63 in Table 17; the other five agree."""
    columns = {"Table 12": (12, "Fully Secured"), "Table 17": (17, "Fully-Secure")}
    both = {}
    for name, (number, secured) in columns.items():
        rows = paper.result_table(number)
        both[name] = rows[rows["secured"] == secured].set_index("row")["value"]
    wrong = differing(both["Table 12"], both["Table 17"], ("Table 12", "Table 17"))
    insist(list(wrong.index) == ["Finance"], "Finance alone differs between Tables 12 and 17")
    return wrong


def customization_rows() -> pd.DataFrame:
    """23: fully secured GSM8K of Llama2-7B is 20.32 or 20.24; Table 18 repeats a row; code is not always its mean."""
    tables = {
        number: paper.result_table(number).pivot(index="secured", columns="row", values="value") for number in (18, 19)
    }
    by_size = paper.result_table(33).set_index(["model", "secured"])["value"]
    one, other = by_size["Llama2-7B", "Fully-Secure"], tables[18].loc["Fully-Secure", "Math"]
    insist(one != other, "GSM8K of Llama2-7B, fully secured, has two values")
    repeated = tables[18].loc["SAP-DP"] == tables[18].loc["Fully-Secure"]
    insist(list(repeated.index[~repeated]) == ["Alignment"], "Table 18's SAP-DP row repeats Fully-Secure")
    mean = paper.pretrain("Mistral-7B")[["HumanEval", "MBPP"]].mean()
    code = tables[19].loc["Fully-Secure", "Code"]
    insist(abs(code - mean) > 0.1, "Table 19's code is not the mean of its two benchmarks")
    untuned, tuned = paper.pretrain("Phi-2")["GSM8K"], by_size["Phi-2", "0-29"]
    insist(tuned < untuned, "securing most of Phi-2 is worse than no tuning")
    rows = [
        ["Llama2-7B, GSM8K fully secured", "Table 33", one, "Table 18", other],
        ["Mistral-7B, code fully secured", "Table 19", code, "its two benchmarks", mean],
        ["Phi-2, GSM8K", "Table 33, layers 0-29", tuned, "untouched", untuned],
    ]
    return pd.DataFrame(rows, columns=["what", "where", "value", "against", "value there"])


def same_row_twice() -> pd.DataFrame:
    """28: Table 2 prints the same fully secured row under FT-closed and under SEM."""
    rows = paper.result_table(2)
    rows = rows[rows["secured"] == "F-Secured"].pivot(index="row", columns="attack", values="value")
    insist(bool((rows["FT-closed"] == rows["SEM"]).all()), "Table 2's fully secured rows are equal")
    return rows.rename_axis(columns=None)
