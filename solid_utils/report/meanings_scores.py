"""Meanings of the columns of scores without training, and of the table that compares them with DD; see meanings.py."""

SCORES: dict[str, tuple[str, str]] = {  # column: (unit, meaning)
    # set_scores.csv
    "set_scores.score": ("name", "`residual`, `map_kl`, ...: a file of solid_utils/difficulty each"),
    "set_scores.value": (
        "of the score",
        "nats of `map_kl` and `curvature`, directions of `effective_rank`, else shares",
    ),
    "set_scores.texts": ("count", "texts that it reads; every tenth is held out"),
    "set_scores.tokens": ("count", "tokens of these texts"),
    "set_scores.flops": ("FLOP", "of this score alone, counted from shapes"),
    "way": ("name", "products with the Jacobian: `jvp`, forward mode, or central `differences`; else `none`"),
    # exactness.csv
    "exactness.noise": ("share", "of each secret matrix's standard deviation, added as Gaussian noise"),
    "state_error": (
        "share",
        "of the states that leave the secured part on the attack's own kind of prompt, root mean square of "
        "the distance over the length, without first tokens; the same on every set's row",
    ),
    "exactness.prompts": ("count", "prompts asked for a greedy answer"),
    # snapping.csv
    "basin.noise": ("share", "of each secret matrix's standard deviation, added as Gaussian noise"),
    "basin.texts": ("count", "texts that it is trained on"),
    "basin.steps": ("count", "steps of training"),
    "own_start": ("share", "`state_error` on texts that it is trained on, before"),
    "own_end": ("share", "the same after training"),
    "held_out_start": ("share", "`state_error` on held-out prompts of the attack's kind, before training"),
    "held_out_end": ("share", "the same after training"),
    "snapping.noise": ("share", "of each secret matrix's standard deviation, added as Gaussian noise"),
    "levels_right": ("share", "of the weights whose level, one of sixteen, is the victim's after rounding"),
    "weight_error": ("share", "of a matrix's standard deviation, root mean square over secret matrices"),
    "snapped_weight_error": ("share", "the same after rounding to a grid fitted to the noisy weights"),
    "snapped_state_error": ("share", "`state_error` after rounding"),
    # off_grid.csv
    "victim": ("name", "`packaged`, or `off its grid`: each weight drawn from within half a step around its level"),
    "victim_agrees": ("share", "of tokens on which this victim and the packaged one have the same most likely token"),
    "victim_perplexity": ("ratio", "of this victim on the same texts"),
    # tries.csv
    "learning_rate": ("rate", "the highest of the schedule"),
    "tries.n": ("count", "validation problems"),
    "validation_cross_entropy": ("nats", "on the answers of the validation problems, after the last step"),
    "validation_exact_match": ("share", "of the validation problems answered word for word, after the last step"),
    "sums_before": ("share", "of one-digit sums that the untouched model writes right"),
    "sums_after": ("share", "of them that the customized model writes right"),
    "sums": ("count", "one-digit sums asked for in writing, with other examples than the benchmark's"),
    "tries.kl": ("nats", "of the untouched model from the customized one, on general validation texts"),
    # the table of forecasts
    "forecast_of": ("name", "attack whose end is forecast, KL on C4: `SEM` or `fine-tuning`"),
    "forecasts.score": (
        "name",
        "a score without training, or what was there before: `dd`, `calibrated`, `depth`, `lowest`, `parameters`, "
        "`start_kl`, `start_agreement`",
    ),
    "forecasts.sets": ("count", "secured sets compared, of all models of the row"),
    "forecasts.confirmatory": (
        "yes or no",
        "were the outcomes unseen, and what is asked of cells as it is, before they ran; the score as first computed?",
    ),
    "rank": (
        "correlation",
        "Spearman's, of score and outcome over secured sets; of several models its mean",
    ),
    "over_dd": (
        "difference",
        "of absolute rank correlations, mean over models, to DD's, over the same resampled sets",
    ),
    "over_calibrated": ("difference", "the same to DD after one temperature"),
    "over_depth": ("difference", "the same to the number of secured layers"),
    "over_lowest": ("difference", "the same to the lowest secured layer"),
    "over_parameters": ("difference", "the same to the number of secret parameters"),
    "over_start_kl": ("difference", "the same to KL on C4 before any query"),
    "over_start_agreement": ("difference", "the same to agreement on C4 before any query"),
    "forecasts.p": (
        "fraction",
        "two-sided: twice the share of resamples where the difference to DD has the other sign",
    ),
    "forecasts.p_holm": ("fraction", "the same by Holm's correction over the scores of the row's outcome and models"),
    "forecasts.texts": ("count", "texts that the score reads"),
    "forecasts.flops": ("FLOP", "of this score alone, mean over sets, counted from shapes"),
    "forecasts.seconds": ("seconds", "of this score alone, mean over sets, where facts.csv says so"),
}
