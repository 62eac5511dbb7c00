"""Points of the audit about rules: averages under one name, the stopping rule, difficulties, sizes, and the text."""

import pandas as pd

from solid_utils.paper import paper
from solid_utils.paper.audit_tools import (
    ADR,
    DD,
    above,
    adr_a,
    adr_b,
    adr_e,
    ft_all,
    insist,
    printed,
    ratios,
)
from solid_utils.paper.paper import DOMAINS, ROWS

TEXT_LEVEL = 20.0  # "ADR consistently near 20%" (5.3), of early sets
TEXT_LAYER = 22.0  # "from 85% to 22%" (5.3), of an entire layer
TEXT_ADRS = {"SOLID": 21.9, "SAP-DP": 21.8, "Fully-secured": 22.8}  # of Llama2-70B (5.4)
TEXT_RATE = 1.5e-5  # of Llama2-70B's customization (B.6)
MMLU_VALIDATION, ALPACA, STEP = 1531, 52002, 751  # public sizes, and the step of B.2
SECURED_IN_TABLE_1 = {"Llama2-70B": 14, "Llama2-7B": 15, "Mistral-7B": 15, "Phi-2": 16}
EPSILON = 0.05


def boolq_over_arc_easy() -> pd.DataFrame:
    """2: Table 1 divides BoolQ by the victim's ARC-easy score; the same slip gives the text's ADRs."""
    table = paper.result_table(1)
    cells = table[table["row"] == "BoolQ"].set_index(["model", "secured"])["value"]
    rows = []
    for model, number in SECURED_IN_TABLE_1.items():
        victim = paper.pretrain(model)
        score = ft_all(number, model, "SOLID")["BoolQ"]
        slip, right = 100 * score / victim["ARC-easy"], 100 * score / victim["BoolQ"]
        given = cells[model, "SOLID"]
        near = abs(given - slip) < 0.06
        insist(near and abs(given - right) > 1, f"Table 1's BoolQ of {model} is over ARC-easy")
        rows.append([model, given, slip, right])
    for secured, said in TEXT_ADRS.items():
        found = adr_e(ft_all(14, "Llama2-70B", secured), "Llama2-70B")
        insist(abs(found - said) < 0.06, f"the slip gives the text's ADR of {secured}")
    return pd.DataFrame(rows, columns=["model", "Table 1 prints", "over ARC-easy", "over BoolQ"])


def two_averages() -> pd.DataFrame:
    """3: ADR is the mean of ratios in Table 15 (A) and the ratio of means in Table 27 (B); one column, two values."""
    rows = []
    for table, secured in ((15, "Fully-secured"), (27, "*")):
        column = ft_all(table, "Llama2-7B", secured)
        rows.append(
            [printed((table, "Llama2-7B", "FT-all", secured)), adr_a(column, "Llama2-7B"), adr_b(column, "Llama2-7B")]
        )
    found = pd.DataFrame(rows, columns=["printed", "A", "B"], index=["Table 15", "Table 27"])
    off = found[["A", "B"]].sub(found["printed"], axis=0).abs()
    insist(off.loc["Table 15", "A"] < 0.011 and off.loc["Table 27", "B"] < 0.011, "A fits Table 15, B Table 27")
    insist(abs(found["printed"].diff().iloc[1]) > 5, "the two printed ADRs of one column are far apart")
    return found


def headings() -> pd.DataFrame:
    """4: Tables 26 and 28 are headed 0 to 7, then 16, 18, ...: sets, not layers, or layers 8 to 15 are missing."""
    shown = {}
    for first, second in ((26, 27), (28, 29), (30, 31)):
        names = [*paper.result_table(first)["secured"].unique(), *paper.result_table(second)["secured"].unique()]
        shown[f"Tables {first} and {second}"] = " ".join(name for name in names if name not in ("Pretrain", "*"))
    even = " ".join(map(str, range(0, 31, 2)))
    insist(shown["Tables 30 and 31"] == even, "Tables 30 and 31 count even layers")
    for name in ("Tables 26 and 27", "Tables 28 and 29"):
        insist(shown[name] == " ".join(map(str, [*range(8), *range(16, 31, 2)])), f"{name} jump from 7 to 16")
    return pd.Series(shown, name="headings").to_frame()


def transitions() -> pd.DataFrame:
    """5: the transition layer is the last safe one for Llama2-7B, the first unsafe one for Mistral-7B."""
    sets = {
        ("Llama2-7B", "16"): above(27, "Llama2-7B", "16", (27, "*")),
        ("Llama2-7B", "18"): above(27, "Llama2-7B", "18", (27, "*")),
        ("Mistral-7B", "22"): above(29, "Mistral-7B", "22", (29, "*")),
        ("Mistral-7B", "24"): above(29, "Mistral-7B", "24", (29, "*")),
    }
    safe_there = sets["Mistral-7B", "22"]
    insist(safe_there > sets["Llama2-7B", "16"], "what is safe for Mistral-7B is past the transition of Llama2-7B")
    insist(sets["Llama2-7B", "18"] > safe_there, "by Mistral-7B's standard Llama2-7B turns at layer 18")
    found = pd.Series(sets, name="ADR above fully secured")
    return found.to_frame().rename_axis(["model", "secured layer"])


def text_levels() -> pd.DataFrame:
    """6: neither definition gives the text's "near 20%" for early sets of Llama2-7B, nor its 22 % for one layer."""
    early = [ft_all(26, "Llama2-7B", str(number)) for number in range(8)]
    layer = ft_all(34, "Llama2-7B", "3%")
    found = {}
    for name, adr in (("A", adr_a), ("B", adr_b)):
        values = [adr(column, "Llama2-7B") for column in early]
        found[name] = {"early, least": min(values), "early, most": max(values), "a layer": adr(layer, "Llama2-7B")}
        insist(min(values) - TEXT_LEVEL > 3, f"no early set is near 20 % by {name}")
        insist(abs(found[name]["a layer"] - TEXT_LAYER) > 1, f"a layer is not at 22 % by {name}")
    return pd.DataFrame(found).assign(text=[TEXT_LEVEL, TEXT_LEVEL, TEXT_LAYER])


def stopping_rule() -> pd.DataFrame:
    """12: by the printed difficulties, 0.95 of the ceiling does not choose the sets reported for Phi-2 and Phi-1.5."""
    cases = [  # model, ceiling's table and column, sets in the order of the search, does the first/last of them stop?
        ("Llama2-7B", (27, "*"), (26, "0"), True),
        ("Mistral-7B", (29, "*"), (28, "0"), True),
        ("Phi-2", (31, "*"), (30, "0"), False),
        ("Phi-2", (31, "*"), (38, "30%"), False),
        ("Phi-1.5", (40, "100%"), (32, "0-1"), False),
        ("Phi-1.5", (32, "*"), (40, "3%"), True),  # one layer would do, where two are reported
    ]
    rows = []
    for model, (table, whole), (where, secured), stops in cases:
        asked = (1 - EPSILON) * printed((table, model, "FT-all", whole), DD)
        value = printed((where, model, "FT-all", secured), DD)
        insist(
            (value >= asked) == stops,
            f"{model}, {secured} of Table {where}: the rule {'stops' if stops else 'goes on'}",
        )
        rows.append([model, f"Table {where}, {secured}", value, asked, "stops" if value >= asked else "goes on"])
    return pd.DataFrame(rows, columns=["model", "secured", "DD", "0.95 of the ceiling", "the rule"])


def small_sets() -> pd.DataFrame:
    """13: below one layer a larger difficulty goes with a larger ADR, against what difficulty is for."""
    rows = []
    for model, table in (("Phi-2", 38), ("Phi-1.5", 40)):
        found = {size: paper.summary(table, model, "FT-all", size) for size in ("0.25%", "1%")}
        insist(found["0.25%"][DD] > found["1%"][DD], f"{model}: DD falls as the set grows")
        insist(found["0.25%"][ADR] > found["1%"][ADR], f"{model}: so does ADR")
        rows += [[model, size, one[DD], one[ADR]] for size, one in found.items()]
    return pd.DataFrame(rows, columns=["model", "secured", "DD", "ADR"])


WITH_DIFFICULTY = {
    "Llama2-7B": (26, 27, 34, 35),
    "Mistral-7B": (28, 29, 36, 37),
    "Phi-2": (30, 31, 38, 39),
    "Phi-1.5": (32, 40, 41),
}
OFF = [("Mistral-7B", name) for name in ("Rsn", "Read", "Gen", "Avg")] + [("Phi-2", "Knl"), ("Phi-1.5", "Avg")]


def correlations() -> pd.DataFrame:
    """14: Table 11's Pearson values are those of average scores, not of ratios; six Spearman values are not met."""
    given = paper.published_table(11).set_index(["model", "domain"])
    groups = {**DOMAINS, "Code&Math": [*DOMAINS["Code"], *DOMAINS["Math"]], "Avg": ROWS}
    rows = []
    for model, mine in given.groupby(level="model", sort=False):
        sets = scored_sets(model)
        for (_, domain), one in mine.iterrows():
            score = sets[groups[domain]].mean(axis=1)
            insist(abs(sets[DD].corr(score) - one["pearson"]) < 0.0135, f"Pearson's of {model}, {domain}, is of scores")
            if (model, domain) in OFF:
                rank = sets[DD].rank().corr(score.rank())
                insist(abs(rank - one["spearman"]) > 0.07, f"Spearman's of {model}, {domain}, is not met")
                rows.append([model, domain, one["spearman"], rank])
    return pd.DataFrame(rows, columns=["model", "domain", "Table 11, Spearman", "recomputed"])


def scored_sets(model: str) -> pd.DataFrame:
    """DD and the 17 scores of every column of a model that prints a difficulty, copies and fully secured included."""
    found = []
    for number in WITH_DIFFICULTY[model]:
        wide = paper.result_table(number).pivot(index="secured", columns="row", values="value")
        found.append(wide.dropna(subset=DD))
    return pd.concat(found, ignore_index=True)


def darknetz() -> pd.DataFrame:
    """15: DarkneTZ is said to secure the last layer; Table 1 has the last but one, or the last pair."""
    table = paper.result_table(1)
    cells = table[table["secured"] == "DarkneTZ"].set_index(["model", "row"])["value"]
    rows = []
    for model, number, what in (("Llama2-7B", 27, "layer 30 of 0 to 31"), ("Phi-2", 31, "layers 30 and 31")):
        mine, found = cells[model], ratios(ft_all(number, model, "30"), model)
        digit = (mine >= 100).map({True: 1.0, False: 0.1})  # three digits are printed, the last one cut
        near = int(((mine - found[mine.index]).abs() < digit).sum())
        insist(near >= len(mine) - 2, f"DarkneTZ's cells of {model} are column 30 of Table {number}")
        rows.append([model, f"Table {number}, {what}", near, len(mine)])
    return pd.DataFrame(rows, columns=["model", "column", "cells that agree", "cells"])


def table_2_domains() -> pd.DataFrame:
    """18: domains of Table 2 that Table 22 does not give."""
    cells = paper.result_table(2).set_index(["attack", "secured", "row"])["value"]
    rows = []
    for attack, secured, domain in [
        ("FT-closed", "SOLID", "Gen"),
        ("FT-closed", "SAP-DP", "Gen"),
        ("SEM", "SOLID", "Rsn"),
        ("SEM", "SAP-DP", "Rsn"),
        ("SEM", "SAP-DP", "Read"),
    ]:
        given = cells[attack, secured, domain]
        found = ratios(paper.column(22, "Llama2-70B", attack, secured), "Llama2-70B")[DOMAINS[domain]].mean()
        insist(abs(given - found) > 0.2, f"Table 2's {domain} of {secured}, {attack}, is not Table 22's")
        rows.append([attack, secured, domain, given, found])
    return pd.DataFrame(rows, columns=["attack", "secured", "domain", "Table 2 prints", "Table 22 gives"])


def opt_layers() -> pd.DataFrame:
    """20: OPT-350M has 24 layers (Table 3), but the headings of Table 42 reach 35."""
    layers = int(paper.published_table(3).set_index("model").loc["OPT", "decoder_layers"])
    sets = [name for name in paper.result_table(42)["secured"].unique() if "-" in name]
    highest = max(int(name.partition("-")[2]) for name in sets)
    insist(highest >= layers, "Table 42 names layers that OPT-350M does not have")
    insist(2 * len(sets) == layers, "its sets are as many as pairs of layers")
    return pd.DataFrame({"value": [layers, len(sets), highest]}, index=["layers", "sets", "highest layer named"])


def swapped_sizes() -> pd.DataFrame:
    """21: Mistral-7B's 0.5 % of Table 10 holds more parameters than its 1 %, and Table 36 has them in this order."""
    sizes = paper.published_table(10)
    mine = sizes[(sizes["model"] == "Mistral-7B") & (sizes["kind"] == "proportion")].set_index("setting")
    half, one = (float(mine.loc[size, "likely_params_million"]) for size in ("0.50%", "1%"))
    insist(half > one, "0.5 % is larger than 1 %")
    order = list(paper.result_table(36)["secured"].unique()[:3])
    insist(order == ["0.25%", "1%", "0.5%"], "Table 36 stands in swapped order")
    scores = {where: printed((table, "Mistral-7B", "FT-all", where)) for table, where in ((36, "1%"), (37, "50M"))}
    insist(scores["1%"] != scores["50M"], "the same modules have two ADRs")
    return pd.DataFrame({"millions": [half, one, one], "ADR": [None, *scores.values()]}, index=["0.5%", *scores])


def learning_rate() -> pd.DataFrame:
    """24: Llama2-70B's customization has another learning rate in Table 9 than in the text (exponents read poorly)."""
    rate = float(paper.published_table(9).set_index("model").loc["Llama2-70B", "learning_rate"])
    insist(rate != TEXT_RATE, "Table 9 and the text differ")
    return pd.DataFrame({"learning rate": [rate, TEXT_RATE]}, index=["Table 9", "text, B.6"])


def data_sizes() -> pd.DataFrame:
    """25: Table 5's counts look swapped: half of MMLU's validation set is what it prints for Alpaca."""
    sizes = paper.published_table(5).set_index("raw_data_set")["validation_set"]
    alpaca, mmlu = int(sizes["Alpaca"]), int(sizes["MMLU auxiliary training set"])
    insist(alpaca == MMLU_VALIDATION // 2, "Alpaca's count is half of MMLU's validation set")
    insist(mmlu != MMLU_VALIDATION // 2, "MMLU's own count is another one")
    taken = len(range(0, ALPACA, STEP))  # with the first
    insist(taken not in (alpaca, mmlu), "a step of 751 gives neither count")
    names = ["Table 5, Alpaca", "Table 5, MMLU", "half of MMLU's validation set", "Alpaca by steps of 751"]
    return pd.DataFrame({"samples": [alpaca, mmlu, MMLU_VALIDATION // 2, taken]}, index=names)


def sixteen_benchmarks() -> pd.DataFrame:
    """26: the "sixteen" benchmarks are 17 rows, SQuADv2 twice; Table 22 lacks the fully secured column of C.4."""
    names = paper.published_table(7)["benchmark"]
    insist(len(names) == 17, "Table 7 has 17 rows")
    twice = names[names.str.startswith("SQuADv2")]
    insist(len(twice) == 2, "SQuADv2 counts twice")
    columns = set(paper.result_table(22)["secured"])
    insist(not any("ecure" in name for name in columns), "Table 22 has no fully secured column")
    return pd.DataFrame({"counts": [len(names), len(twice)]}, index=["rows", "of SQuADv2"])


def ceilings() -> pd.DataFrame:
    """27: fully secured difficulties are those of a head drawn from N(0, 0.02), not of Xavier's, as said."""
    found = paper.ceilings()
    insist(bool(((found["printed"] - found["normal_0.02"]).abs() < 0.04).all()), "N(0, 0.02) fits every ceiling")
    insist(bool((found["printed"] - found["xavier"] > 0.3).all()), "Xavier fits none")
    return found.round(2)


def guessing() -> pd.DataFrame:
    """29: guessing alone has an ADR (A) as high as the deployments that are called secure."""
    guess = adr_a(paper.CHANCE, "Llama2-70B")
    secured = {name: printed((14, "Llama2-70B", "FT-all", name)) for name in TEXT_ADRS}
    insist(guess > max(secured.values()), "no secured deployment is above guessing")
    return pd.DataFrame({"ADR (A)": {"guessing": guess, **secured}})
