"""What columns of customization cells and of the table made from them mean; a part of meanings.MEANING."""

CUSTOMERS: dict[str, tuple[str, str]] = {  # column: (unit, meaning)
    "trained_on": ("name", "domain of the customization, see configs/domains.yaml"),
    "equivalence.recipe": ("text", "domain, method, optimizer, rate, schedule, batch"),
    "equivalence.metric": (
        "name",
        "`right`: accuracy; `likelihood`: nats a token of the right answers, of pairs the margin",
    ),
    "equivalence.before": (
        "fraction",
        "score of the untouched model; of likelihood in nats, as `after`, `gap`, `open_gain`",
    ),
    "equivalence.after": ("fraction", "score after the customization"),
    "open_gain": ("fraction", "what the fully open run gained"),
    "equivalence.gap": ("fraction", "score less that of the fully open run, paired by item and seed"),
    "reach": (
        "fraction",
        "half the width of the 90 % interval of the gap; not below the margin: too few items to decide",
    ),
    "margin": ("fraction", "largest shortfall of SOLID in the paper's Tables 17 to 21, which it calls as good"),
    "equivalence.p": (
        "fraction",
        "the larger one of two one-sided tests against the margin; blank where no item differs",
    ),
    "equivalence": ("text", "equivalent, worse or better by more than the margin, not decided, or nothing was gained"),
    "forgotten": ("fraction", "what other benchmarks lost, before less after, mean over benchmarks"),
    "worst": ("name", "benchmark that lost most"),
    "worst_change": ("fraction", "its score after less before"),
    "part": ("name", "group of configs/customization.yaml whose question it answers"),
    "trade_off.run": ("name", "what cells that differ in their seed share"),
    "open": ("fraction", "score of the fully open run after its customization, on the seeds that both have"),
    "trade_off.after": ("fraction", "score after the customization"),
    "trade_off.gap": ("fraction", "score less that of the fully open run, paired by item and seed"),
    "attack_from": ("name", "where the strongest attack on this set ran: `default`, `grid`, `beyond`, `scale`"),
    "attack_recipe": ("name", "its recipe in the list of cells; blank in the default study"),
    "paper_gap": (
        "fraction",
        "of the paper's own models on the nearest set that it prints; blank where none",
    ),
    "paper_gap_of": ("text", "where that stands in the paper"),
    "paper_ratio": ("fraction", "the paper's average ratio of FT-all there, another measure than `above_floor_apart`"),
    "paper_ratio_of": ("text", "where that stands in the paper"),
    "customers.run": ("name", "what cells that differ in their seed share"),
    "customers.domain": ("name", "domain of the customization, see configs/domains.yaml"),
    "customers.recipe": ("name", "recipe in configs/customization.yaml"),
}
