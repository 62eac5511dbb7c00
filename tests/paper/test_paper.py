"""The published tables, and the real test of the metrics: they give the averages the paper prints."""

import pandas as pd
import pytest

from solid_utils.core.errors import StudyError
from solid_utils.metrics import metrics
from solid_utils.paper import paper, said

RESULT_TABLES = [1, 2, *range(12, 43)]
SCORE_TABLES = [number for number in range(13, 43) if number not in (*range(17, 22), 33)]
MEAN_OF_RATIOS_TABLES = [13, 14, 15, 22, 23, 24, 25]
RATIO_OF_MEANS_TABLES = [*range(26, 33), *range(34, 43)]
AVERAGE, ADR, DIFFICULTY = "avg_performance_score", "average_distillation_ratio", "distillation_difficulty"

DOMAIN_OF = pd.Series({row: domain for domain, rows in paper.DOMAINS.items() for row in rows})

# Printed averages, and printed ADRs, that do not follow from the 17 rows above them; with what the rows give.
WRONG_AVERAGES = {
    (40, "Phi-1.5", "FT-all", "3%"): 18.83,
    (41, "Phi-1.5", "FT-all", "50M"): 18.24,
    (41, "Phi-1.5", "FT-all", "100M"): 16.78,
}
WRONG_ADRS_B = {
    (40, "Phi-1.5", "FT-all", "3%"): 39.86,
    (41, "Phi-1.5", "FT-all", "50M"): 38.62,
    (41, "Phi-1.5", "FT-all", "100M"): 35.52,
    (32, "Phi-1.5", "FT-all", "22-23"): 89.55,  # off by 0.014 only: a digit of its BoolQ score is lost
}
WRONG_ADRS_A = {
    (13, "Llama2-70B", "FT-all", "Semi-Open-2"): 75.30,
    (22, "Llama2-70B", "FT-closed", "SOLID"): 22.34,
    (22, "Llama2-70B", "FT-closed", "SAP-DP"): 21.55,
    (22, "Llama2-70B", "SEM", "SOLID"): 22.23,
    (22, "Llama2-70B", "SEM", "SAP-DP"): 21.44,
    (23, "Llama2-7B", "FT-closed", "SOLID"): 24.60,
    (23, "Mistral-7B", "FT-closed", "SOLID"): 22.67,
    (24, "Llama2-7B", "SEM", "SOLID"): 26.26,
    (24, "Mistral-7B", "SEM", "SOLID"): 22.66,
    (24, "Phi-2", "SEM", "SOLID"): 22.02,
    (24, "Phi-1.5", "SEM", "SOLID"): 26.96,
}


def printed_columns(tables: list[int]) -> dict[tuple, pd.Series]:
    """(table, model, attack, secured) -> all printed rows."""
    everything = pd.concat(paper.result_table(number) for number in tables)
    return {key: rows.set_index("row")["value"] for key, rows in everything.groupby(paper.COLUMN)}


def within(value: float, printed: float, tolerance: float = 0.01) -> bool:
    return abs(value - printed) <= tolerance + 1e-9


def test_all_tables_are_there():
    assert sum(len(paper.published_table(number)) for number in range(1, 43)) == 4064
    assert sum(len(paper.result_table(number)) for number in RESULT_TABLES) == 3929
    for number in RESULT_TABLES:
        table = paper.result_table(number)
        assert (table["table"] == number).all() and table.notna().all(axis=None)
        assert not table.duplicated(["model", "attack", "secured", "row"]).any()


def test_score_tables_have_the_17_rows_in_their_domains():
    assert len(paper.ROWS) == len(set(paper.ROWS)) == 17
    columns = printed_columns(SCORE_TABLES)
    assert all(set(paper.ROWS) <= set(rows.index) for rows in columns.values())
    assert len(columns) == 182
    for number in SCORE_TABLES:
        scores = paper.result_table(number).query("domain != 'summary'")
        assert (scores["row"].map(DOMAIN_OF) == scores["domain"]).all()
        assert scores["value"].between(0, 100).all()


def test_column_gives_the_rows_in_order_and_summary_the_rest():
    scores = paper.column(26, "Llama2-7B", "FT-all", "0")
    assert list(scores.index) == paper.ROWS
    assert scores["SQuADv2_F1"] == 1.05
    assert paper.summary(26, "Llama2-7B", "FT-all", "0").to_dict() == {AVERAGE: 15.82, ADR: 30.76, DIFFICULTY: 11.11}
    assert list(paper.summary(14, "Llama2-70B", "FT-all", "SOLID").index) == [ADR]
    assert paper.pretrain("Phi-2")["GSM8K"] == 57.77


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: paper.published_table(43), "Tables 1 to 42"),
        (lambda: paper.result_table(11), "holds no scores"),
        (lambda: paper.column(26, "Llama2-7B", "FT-all", "9"), "no column Llama2-7B, FT-all, 9"),
        (lambda: paper.column(1, "Llama2-7B", "FT-all", "SOLID"), "lacks SQuADv2_EM"),
        (lambda: paper.pretrain("GPT-2"), "the paper prints no scores"),
    ],
)
def test_wrong_requests_get_one_line(call, message):
    with pytest.raises(StudyError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_printed_average_scores_follow_from_the_rows():
    columns = {key: rows for key, rows in printed_columns(SCORE_TABLES).items() if AVERAGE in rows}
    assert len(columns) == 146
    wrong = {key for key, rows in columns.items() if not within(rows[paper.ROWS].mean(), rows[AVERAGE])}
    assert wrong == set(WRONG_AVERAGES)
    for key, average in WRONG_AVERAGES.items():
        assert columns[key][paper.ROWS].mean() == pytest.approx(average, abs=0.005)


@pytest.mark.parametrize(
    "tables, adr, exceptions, number_of_columns",
    [
        (MEAN_OF_RATIOS_TABLES, metrics.adr_mean_of_ratios, WRONG_ADRS_A, 29),
        (RATIO_OF_MEANS_TABLES, metrics.adr_ratio_of_means, WRONG_ADRS_B, 141),
    ],
    ids=["A", "B"],
)
def test_metrics_reproduce_the_printed_adrs(tables, adr, exceptions, number_of_columns):
    columns = {key: rows for key, rows in printed_columns(tables).items() if ADR in rows}
    assert len(columns) == number_of_columns
    found = {key: 100 * adr(rows[paper.ROWS], paper.pretrain(key[1])) for key, rows in columns.items()}
    assert {key for key, value in found.items() if not within(value, columns[key][ADR])} == set(exceptions)
    for key, recomputed in exceptions.items():
        assert found[key] == pytest.approx(recomputed, abs=0.006)


ADRS_A_WITHOUT_PRINT = {  # Table 16 prints no ADR
    "Phi-2": {"SOLID": 23.80, "SAP-DP": 22.21, "Fully-secured": 22.31},
    "Phi-1.5": {"SOLID": 26.33, "SAP-DP": 25.35, "Fully-secured": 25.43},
}


@pytest.mark.parametrize("model", ADRS_A_WITHOUT_PRINT)
def test_adrs_of_the_table_that_prints_none(model):
    victim = paper.pretrain(model)
    for secured, adr in ADRS_A_WITHOUT_PRINT[model].items():
        replica = paper.column(16, model, "FT-all", secured)
        assert 100 * metrics.adr_mean_of_ratios(replica, victim) == pytest.approx(adr, abs=0.006)


def test_four_definitions_of_one_column():
    """A and B by benchmark, C and D the mean over domains of A and of B; only B is printed in Table 26."""
    replica, victim = paper.column(26, "Llama2-7B", "FT-all", "0"), paper.pretrain("Llama2-7B")
    found = [adr(replica, victim) for adr in (metrics.adr_mean_of_ratios, metrics.adr_ratio_of_means)]
    found += [
        metrics.adr_over_domains(replica, victim, DOMAIN_OF, adr)
        for adr in (metrics.adr_mean_of_ratios, metrics.adr_ratio_of_means)
    ]
    assert [100 * adr for adr in found] == pytest.approx([25.07, 30.76, 16.86, 16.96], abs=0.006)


@pytest.mark.parametrize("adr", [metrics.adr_mean_of_ratios, metrics.adr_ratio_of_means], ids=["C", "D"])
def test_no_printed_adr_is_a_mean_over_domains(adr):
    tables = [*MEAN_OF_RATIOS_TABLES, *RATIO_OF_MEANS_TABLES]
    columns = {key: rows for key, rows in printed_columns(tables).items() if ADR in rows}
    victims = {model: paper.pretrain(model) for model in paper.PRETRAIN_TABLE}
    worst = dict.fromkeys(tables, 0.0)
    for (table, model, *_), rows in columns.items():
        found = 100 * metrics.adr_over_domains(rows[paper.ROWS], victims[model], DOMAIN_OF, adr)
        worst[table] = max(worst[table], abs(found - rows[ADR]))
    assert min(worst.values()) > 7


def test_a_victim_score_of_zero_is_left_out_of_a():
    victim = paper.pretrain("OPT-350M")
    assert victim[["HumanEval", "MBPP"]].tolist() == [0, 0]
    replica = paper.column(42, "OPT-350M", "FT-all", "0-2")
    ratios = metrics.distillation_ratio(replica, victim)
    assert ratios[ratios.isna()].index.tolist() == ["HumanEval", "MBPP"]
    solved = victim.index[victim > 0]
    adr = metrics.adr_mean_of_ratios(replica, victim)
    assert adr == pytest.approx((replica[solved] / victim[solved]).mean())
    assert metrics.adr_over_domains(replica, victim, DOMAIN_OF) == pytest.approx(
        metrics.adr_over_domains(replica.drop(["HumanEval", "MBPP"]), victim.drop(["HumanEval", "MBPP"]), DOMAIN_OF)
    )


# By definition B, against the fully secured column of the same model.
DELTAS = {
    ("Llama2-7B", 27, "*"): {(27, "16"): 5.5, (27, "18"): 12.6},
    ("Mistral-7B", 29, "*"): {(29, "22"): 6.2, (29, "24"): 16.0},
    ("Phi-2", 31, "*"): {(30, "0"): 3.6, (30, "2"): 30.3},
    ("Phi-1.5", 32, "*"): {(32, "0-1"): 1.3, (32, "2-3"): 22.2},
}


@pytest.mark.parametrize("model, table, secured", DELTAS)
def test_delta_adr_turns_at_the_transition_layers(model, table, secured):
    victim, hidden = paper.pretrain(model), paper.column(table, model, "FT-all", secured)
    for (other, layers), expected in DELTAS[model, table, secured].items():
        replica = paper.column(other, model, "FT-all", layers)
        delta = 100 * metrics.delta_adr(replica, hidden, victim, metrics.adr_ratio_of_means)
        assert delta == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("table, model, within_two_digits", [(17, "Llama2-70B", True), (19, "Mistral-7B", False)])
def test_code_is_the_mean_of_two_benchmarks(table, model, within_two_digits):
    """The paper's customization accuracy of the untouched victim; Tables 19 to 21 print another one."""
    code = paper.pretrain(model)[["HumanEval", "MBPP"]]
    accuracy = metrics.customization_accuracy(code, pd.Series(1, index=code.index))
    printed = paper.result_table(table).query("row == 'Code' and secured == 'Fully-Secure'")["value"].item()
    assert within(accuracy, printed) == within_two_digits


def test_a_lost_digit_explains_the_smallest_miss():
    scores = paper.column(32, "Phi-1.5", "FT-all", "22-23")
    assert scores["BoolQ"] == 77.0
    scores["BoolQ"] = 77.09
    assert within(100 * metrics.adr_ratio_of_means(scores, paper.pretrain("Phi-1.5")), 89.56)


def test_boolq_over_arc_easy_explains_half_of_the_wrong_adrs():
    """The paper divides BoolQ by the victim's ARC-easy score in Tables 1, 2 and 22; the files are not to blame."""

    def slipped(table, model, attack, secured):
        victim = paper.pretrain(model)
        victim["BoolQ"] = victim["ARC-easy"]
        replica = paper.column(table, model, attack, secured)
        return 100 * metrics.adr_mean_of_ratios(replica, victim)

    explained = [key for key in WRONG_ADRS_A if within(slipped(*key), paper.summary(*key)[ADR], 0.07)]
    assert explained == [
        (22, "Llama2-70B", "FT-closed", "SOLID"),
        (22, "Llama2-70B", "FT-closed", "SAP-DP"),
        (22, "Llama2-70B", "SEM", "SOLID"),
        (23, "Llama2-7B", "FT-closed", "SOLID"),
        (24, "Phi-2", "SEM", "SOLID"),
    ]


def test_correlations_of_table_11():
    """Over every column with a difficulty, with average scores (not ratios). Other printed Spearman values are off."""
    printed = paper.published_table(11).set_index(["model", "domain"])
    groups = dict(paper.DOMAINS, **{"Code&Math": [*paper.DOMAINS["Code"], *paper.DOMAINS["Math"]], "Avg": paper.ROWS})
    columns = printed_columns(SCORE_TABLES)
    assert len(printed) == 24
    for (model, domain), row in printed.iterrows():
        mine = pd.DataFrame(
            [
                {"difficulty": rows[DIFFICULTY], "score": rows[groups[domain]].mean()}
                for key, rows in columns.items()
                if key[1] == model and DIFFICULTY in rows
            ]
        )
        assert within(metrics.pearson(mine["difficulty"], mine["score"]), row["pearson"], 0.0135)
        if model == "Llama2-7B":
            assert within(metrics.spearman(mine["difficulty"], mine["score"]), row["spearman"])


def test_guessing_alone_reaches_the_adr_called_secure():
    victim = paper.pretrain("Llama2-70B")
    assert 100 * metrics.adr_mean_of_ratios(paper.CHANCE, victim) == pytest.approx(22.97, abs=0.005)
    assert metrics.chance_corrected_ratio(paper.CHANCE, victim, paper.CHANCE) == 0


def test_ceilings_are_those_of_a_normal_head_not_of_xavier():
    found = paper.ceilings()
    assert found["normal_0.02"].round(3).tolist() == [11.193, 11.193, 11.355, 11.253]
    assert found["xavier"].round(2).tolist() == [10.49, 10.49, 10.89, 10.88]
    assert (found["printed"] - found["normal_0.02"]).abs().max() < 0.04
    assert (found["printed"] - found["xavier"]).min() > 0.3


def test_claims_quote_the_tables():
    claims = {claim.key: claim for claim in said.CLAIMS}
    assert len(claims) == len(said.CLAIMS)
    assert all(f"Observation {number}" in "".join(c.source for c in said.CLAIMS) for number in range(1, 6))
    for model in ("Llama2-7B", "Mistral-7B", "Phi-2", "Phi-1.5"):
        sem = paper.summary(24, model, "SEM", "SOLID")[ADR]
        assert f"{model} {sem:.2f} %" in claims["sem_at_chance"].published
        correlations = paper.published_table(11).set_index(["model", "domain"]).loc[(model, "Avg")]
        quoted = f"{model} {correlations['spearman']:.2f}, {correlations['pearson']:.2f}"
        assert quoted in claims["difficulty_predicts"].published


def test_sem_against_solid_is_at_chance():
    columns = [(24, model) for model in ("Llama2-7B", "Mistral-7B", "Phi-2", "Phi-1.5")] + [(22, "Llama2-70B")]
    for table, model in columns:
        replica, victim = paper.column(table, model, "SEM", "SOLID"), paper.pretrain(model)
        assert abs(metrics.chance_corrected_ratio(replica, victim, paper.CHANCE)) < 0.03


def test_uncertain_lists_every_wrong_average():
    cells = paper.uncertain()
    assert cells.notna().all(axis=None)
    assert set(cells["kind"]) == {"reading", "sum", "ratio", "copy", "repeat"}
    sums = cells[cells["kind"] == "sum"]
    wrong = set(sums.loc[sums["row"] == ADR, paper.COLUMN].itertuples(index=False, name=None))
    assert wrong == set(WRONG_AVERAGES) | set(WRONG_ADRS_A)


def test_uncertain_of_one_table():
    cells = paper.uncertain(42)
    assert cells[["secured", "row", "value"]].values.tolist() == [["0-2", "GSM8K", 0.15], ["18-20", DIFFICULTY, 7.7]]
    assert paper.uncertain(19).empty
