"""For the vendor: which sets hold, how large they are, and what defences cost him and leave to a thief."""

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.report import holding, scale, vendor
from solid_utils.report.table import Columns, Context, Section, Table
from solid_utils.report.tables import vendor_tries
from solid_utils.report.tables.vendor_tries import TAKEN
from solid_utils.report.wording import percent


def holding_table(context: Context) -> pd.DataFrame:
    """Every set that was attacked: holding.table."""
    return holding.table(holding.cells(context.results, scale.load()))


HOLDING_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "share": ("parameters %", "percent"),
    "taken": ("taken, C4 %", "percent"),
    "off": ("off everything secured", "percent"),
    "queries_half": ("queries to half", "count"),
    "most_queries": ("most queries tried", "count"),
    "holds": ("holds", "flag"),
    "small": ("at most a tenth", "flag"),
    "|": None,
    "attack": ("attack", "text"),
    "recipe": ("recipe", "text"),
    "queries": ("its queries", "count"),
    "c4_above": ("of this set itself %", "percent"),
    "through": ("taken through", "text"),
}


def _read_holding(rows: pd.DataFrame) -> str:
    """The small sets that hold, and the smallest that does."""
    small = rows[rows["small"].astype(bool)]
    standing = rows[rows["holds"].astype(bool)]
    told = f"of {len(small)} sets with at most a tenth of the parameters {small['holds'].sum()} hold"
    if len(small):
        least = small.loc[small["taken"].idxmin()]
        told += f"; least was taken of {least['secured']}, {percent(least['taken'])}"
    if len(standing):
        first = standing.loc[standing["share"].idxmin()]
        told += f"; the smallest that holds is {first['secured']}, {percent(first['share'])} of the parameters"
        told += f", against at most {first['most_queries']:,.0f} queries"
    return f"{told}."


def ends_table(_: Context) -> pd.DataFrame:
    """Embeddings and one layer as shares of the whole: vendor.ends."""
    if not paths.ENDS_FILE.exists():
        return pd.DataFrame(columns=vendor.ENDS)
    return vendor.ends(schema.read(paths.ENDS_FILE, schema.ENDS))


ENDS_COLUMNS: Columns = {
    "shape": ("shape", "text"),
    "model_parameters": ("parameters", "figures"),
    "tied": ("head tied", "flag"),
    "share_embeddings": ("embeddings %", "percent"),
    "share_layer": ("one layer %", "percent"),
    "share_both": ("both %", "percent"),
    "bottom_layers": ("bottom layers within a tenth, with embeddings", "count"),
}


def _read_ends(rows: pd.DataFrame) -> str:
    """From which size on embeddings and a layer are at most a tenth, where head and embeddings are untied."""
    small = rows[rows["share_both"] <= vendor.WITHIN]
    if small.empty:
        return "embeddings with one layer are more than a tenth everywhere."
    first = small.loc[small["model_parameters"].idxmin()]
    over = rows[(rows["share_both"] > vendor.WITHIN) & (rows["model_parameters"] > first["model_parameters"])]
    share = percent(first["share_both"])
    told = f"embeddings with one bottom layer are at most a tenth first in {first['shape']}, {share}"
    return told + (f"; above that size not in {', '.join(over['shape'])}." if len(over) else ".")


def boundaries_table(context: Context) -> pd.DataFrame:
    """Defences at the boundary with their utility: vendor.boundaries."""
    return vendor.boundaries(vendor.load(paths.BOUNDARIES_FILE, schema.BOUNDARIES), context.results.floors)


BOUNDARIES_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "rounding": ("rounding", "text"),
    "noise": ("noise", "figures"),
    "attack": ("attack", "text"),
    "adapts": ("adapts", "text"),
    "queries": ("queries", "count"),
    "worse": ("perplexity worse %", "percent"),
    "usable": ("usable", "flag"),
    "agreement": ("agreement %", "percent"),
    "above": ("above the floor %", "percent"),
    "|": None,
    "texts": ("texts", "count"),
    "askings": ("askings", "count"),
    "tokens": ("tokens", "count"),
    "kl": ("KL", "number"),
    "n": ("tokens scored", "count"),
    "machine": ("machine", "text"),
}


def _read_boundaries(rows: pd.DataFrame) -> str:
    """Of each set the usable defence that leaves least to the thief who knows of it."""
    told = []
    for secured, mine in rows[rows["strongest"].astype(bool)].groupby("secured", sort=False):
        plain = ~mine.apply(vendor.defends, axis=1)
        bare = mine[plain]
        usable = mine[mine["usable"].astype(bool) & ~plain]
        if usable.empty or bare.empty:
            continue
        best = usable.loc[usable["agreement"].idxmin()]  # a floor may be unknown
        told.append(
            f"with {secured} secured the best defence of those that cost at most {percent(vendor.AT_MOST)} of "
            f"perplexity is {vendor.named(best)}: the thief keeps {percent(best['above'])} above the floor on C4, "
            f"where {percent(bare.iloc[0]['above'])} stood without a defence"
        )
    return "; ".join(told) + "." if told else "no defence is usable."


def rotation_table(context: Context) -> pd.DataFrame:
    """A secret rotation against a public base and against the linear map."""
    rows = vendor.load(paths.ROTATION_FILE, schema.ROTATION)
    return rows.assign(above=vendor.above(rows, context.results.floors))[vendor.ROTATION]


ROTATION_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "exported": ("exported", "text"),
    "attack": ("attack", "text"),
    **TAKEN,
}


def _read_rotation(rows: pd.DataFrame) -> str:
    """What the rotation takes from the base's thief, until he finds it."""
    turned = rows[rows["exported"] == "rotated"].set_index("attack")["agreement"]
    told = ", ".join(f"{attack} {percent(value)}" for attack, value in turned.items() if attack != vendor.NONE)
    return f"agreement with the product, rotated: {told}."


def monitor_table(_: Context) -> pd.DataFrame:
    """Shares of windows that the monitor calls strange."""
    return vendor.load(paths.MONITOR_FILE, schema.MONITOR)[vendor.MONITOR]


MONITOR_COLUMNS: Columns = {
    "window": ("queries a window", "count"),
    "traffic": ("traffic", "text"),
    "drawn_from": ("drawn from", "text"),
    "alarms": ("called strange %", "percent"),
    "|": None,
    "rate": ("set to %", "percent"),
    "texts": ("texts", "count"),
    "tokens": ("tokens", "count"),
    "windows": ("windows", "count"),
    "machine": ("machine", "text"),
}


def _read_monitor(rows: pd.DataFrame) -> str:
    """The longest window: false alarms, power, and a customer whose domain is new."""
    longest = rows[rows["window"] == rows["window"].max()]
    told = [f"{name} {percent(share)}" for name, share in vendor.called_strange(longest).items()]
    return f"of windows of {longest['window'].iloc[0]} queries it calls strange: {', '.join(told)}."


def disguised_table(context: Context) -> pd.DataFrame:
    """What a thief gets who asks texts of a customer's domain."""
    rows = vendor.load(paths.DISGUISED_FILE, schema.DISGUISED)
    return rows.assign(above=vendor.above(rows, context.results.floors))[vendor.DISGUISED]


DISGUISED_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "attack": ("attack", "text"),
    "drawn_from": ("asked about", "text"),
    **TAKEN,
}


def _read_disguised(rows: pd.DataFrame) -> str:
    told = [f"{row.drawn_from} {percent(row.above)}" for row in rows.itertuples()]
    return f"above the floor on C4, by what was asked about: {', '.join(told)}."


SECTION = Section(
    "vendor",
    "A set that holds",
    (
        "What a vendor asks: the smallest set, and the cheapest defence, under which the strongest attack here ends "
        f"within {100 * holding.WITHIN:.0f} points of securing everything, on web text, after at most {holding.MOST:,} "
        "queries.",
    ),
    (
        Table(
            "holding",
            holding_table,
            HOLDING_COLUMNS,
            _read_holding,
            introduction="Taken: above what public text gives, by the strongest attack on the set, or on any row of "
            "layers around it, as who can steal the larger set has the smaller one too. A set holds only against what "
            "was tried: see the most queries. A blank under queries to half: half was never reached.",
        ),
        Table(
            "ends",
            ends_table,
            ENDS_COLUMNS,
            _read_ends,
            introduction="Counted from published shapes. A tied head is one tensor with the embeddings, and secret "
            "with them.",
        ),
        Table(
            "boundaries",
            boundaries_table,
            BOUNDARIES_COLUMNS,
            _read_boundaries,
            introduction="Attack none: the customer's own model through the defence. The thief fits the linear map and "
            "knows of the defence; mean: fewer texts, each asked so often, barely changed; cells: within what rounds "
            "to what he was shown.",
        ),
        *vendor_tries.TABLES,
        Table(
            "rotation",
            rotation_table,
            ROTATION_COLUMNS,
            _read_rotation,
            introduction="The product is a customization of a public base. Base copied: the base's own layer in place "
            "of the secret one; base turned: by the rotation that solves an orthogonal Procrustes problem between the "
            "base's open weights and the exported ones.",
        ),
        Table(
            "monitor",
            monitor_table,
            MONITOR_COLUMNS,
            _read_monitor,
            introduction="By mean surprise of a window's tokens under counts of legitimate customization traffic, by "
            "how far its own counts are from those, and by tokens a query. Known domain: false alarms on texts that it "
            "was not set by. New domain: of a customer whose domain it never saw. Legitimate ones behind: in one query "
            "with a text of a thief who knows of the monitor, nine of them; or with his first tokens alone, so that "
            "the query is as long as a legitimate one.",
        ),
        Table(
            "disguised",
            disguised_table,
            DISGUISED_COLUMNS,
            _read_disguised,
            introduction="A thief whom that monitor takes for a customer: he asks texts of one domain, as many as of "
            "the attack set, and fits the linear map on them.",
        ),
    ),
)
