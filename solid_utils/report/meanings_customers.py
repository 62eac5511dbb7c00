"""What columns of customization cells and of the table made from them mean; a part of meanings.MEANING."""

CUSTOMERS: dict[str, tuple[str, str]] = {  # column: (unit, meaning)
    "trained_on": ("name", "domain of the customization, see configs/domains.yaml"),
    "equivalence.recipe": ("text", "domain, method, optimizer, rate, schedule, batch"),
    "equivalence.metric": (
        "name",
        "`right`: accuracy; `unended`: the same, whatever follows the answer; `likelihood`: nats a token of the right "
        "answers, of pairs the margin; `taught`, `untaught`: right, of subjects trained on and of those only tested",
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
    "equivalence": (
        "text",
        "equivalent, worse or better by more than the margin, not decided, or nothing was gained; of pairs no verdict",
    ),
    "forgotten": (
        "fraction",
        "what `forgettable` other benchmarks lost, before less after, mean",
    ),
    "forgettable": (
        "count",
        "benchmarks by two standard errors above their floor before; by name none of the domain, or that it trains",
    ),
    "worst": ("name", "benchmark that lost most"),
    "worst_change": ("fraction", "its score after less before"),
    "known": (
        "name",
        "`untouched`: nobody tuned; `hidden`: tuned, the thief has the vendor's open part; `published`: he has the "
        "adapter; `base`: the vendor tuned a public model",
    ),
    "deployments": ("count", "deployments of one base that are asked, in turns; the first one is what is scored"),
    "tuned": ("text", "recipes of these deployments' fine-tunings, and how long they are; `none` where nobody tuned"),
    "adapters.trained_on": ("name", "domains of these deployments, joined by `+`; `none` where nobody tuned"),
    "published_adapters.trained_on": ("name", "domains of these deployments, joined by `+`; `none` where nobody tuned"),
    "adapter_plan.trained_on": ("name", "domains of these deployments, joined by `+`"),
    "distance": ("fraction", "of the secured tensors from the untouched model's, relative to their norm"),
    "kl_start": ("nats", "the same before any query"),
    "tuning": ("name", "fine-tuning in configs/customization.yaml, published_adapters.tunings"),
    "named": ("name", "attack in configs/customization.yaml, published_adapters.attacks"),
    "reference_c4": (
        "fraction",
        "agreement on web text to compare with: of the untouched deployment under the same attack, with a public base "
        "of that base put in untouched; blank before that ran",
    ),
    "gain_c4": ("fraction", "agreement on web text above that"),
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
