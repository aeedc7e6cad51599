"""What LOCO Edit (arXiv 2409.02374, Table 1) and Asyrp (arXiv 2210.10960) claim of edits, and how it is measured.

Methods are compared at one change. At equal change of the picture, or inside the mask, all edits count, and how many
missed that change is told beside the number. At equal change of the attribute, an edit that cannot reach it has lost
against one that can: the value of a sample is 1 if the first method's edit does less damage, −1 if the second's does, 0
if neither reaches the change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from diffgeo.claims import Claim, Tables, Values, pseudo_values
from diffgeo.studies.comparison.transfer import transferred

CHANGE = "comparison"
INSIDE, TARGET, STRENGTHS = (f"comparison_{table}" for table in ("inside", "target", "strengths"))
"""Tables: edits at equal change of the picture, inside the mask, of the attribute; and at shares of their strength."""
NAMES = {
    "local": "∂h/∂x (the pullback)",
    "x0": "∂x̂0/∂x",
    "loco": "LOCO",
    "random": "random Δx",
    "random_h": "random Δh",
    "asyrp": "Δh",
    "supervised": "Δx",
}


def _values(table: pd.DataFrame, column: str, logs: bool = False) -> pd.DataFrame:
    """Means over directions, a row per sample and a column per method."""
    wide = table.pivot_table(index=["sample", "direction"], columns="method", values=column)
    return (wide.apply(np.log) if logs else wide).groupby("sample").mean()


def _difference(table: str, column: str, first: str, second: str, *, logs: bool = False) -> Callable[[Tables], Values]:
    """A column of one method less that of another, one value per sample."""

    def measure(tables: Tables) -> Values:
        wide = _values(tables[table], column, logs)
        return np.asarray(wide[first] - wide[second])

    return measure


def _transferred(first: str, second: str) -> Callable[[Tables], Values]:
    """Share of edits whose success carries over, of one method less that of another, one value per sample."""

    def measure(tables: Tables) -> Values:
        table = tables[CHANGE]
        wide = _values(table.assign(done=transferred(table)), "done").dropna()
        return np.asarray(wide[first] - wide[second])

    return measure


def duels(table: pd.DataFrame, column: str, first: str, second: str, *, better: int) -> pd.Series[float]:
    """Who does better at equal change of the attribute, by sample.

    Args:
        table: ``comparison_target``.
        column: what is compared.
        first: a method.
        second: another.
        better: 1 if larger values are better, else −1.

    Returns:
        1 where the first method wins, −1 where the second does, 0 where they tie or neither reaches the change; the
        mean over directions. Who reaches it wins against who does not.
    """
    lost = table[column].where(table["matched"], -better * np.inf)
    wide = table.assign(value=better * lost).pivot(index=["sample", "direction"], columns="method", values="value")
    a, b = wide[first], wide[second]
    won = (a > b).astype(float) - (a < b).astype(float)
    found: pd.Series[float] = won[a.notna() & b.notna()].groupby("sample").mean()
    return found


def _duel(column: str, first: str, second: str, better: int) -> Callable[[Tables], Values]:
    return lambda tables: np.asarray(duels(tables[TARGET], column, first, second, better=better))


def cosines(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """How alike an edit's effects on two samples are: the cosine of their changes of attributes, for all pairs.

    Args:
        table: ``comparison``.
        method: whose first direction is the same for all samples.

    Returns:
        Columns ``a``, ``b`` (samples) and ``cosine``, NaN if an edit changes no attribute.
    """
    own = table[(table["method"] == method) & (table["direction"] == 0)].set_index("sample")
    changes = own[[column for column in own if str(column).startswith("delta_")]].to_numpy(float)
    lengths = np.linalg.norm(changes, axis=1, keepdims=True)
    unit = changes / np.where(lengths > 0, lengths, np.nan)
    pairs = [(i, j) for i in range(len(own)) for j in range(i)]
    rows = [{"a": own.index[i], "b": own.index[j], "cosine": float(unit[i] @ unit[j])} for i, j in pairs]
    return pd.DataFrame(rows, columns=["a", "b", "cosine"])


def _alike(method: str) -> Callable[[Tables], Values]:
    return lambda tables: pseudo_values(cosines(tables[CHANGE], method), "a", "b", "cosine")


def _more_alike(first: str, second: str) -> Callable[[Tables], Values]:
    def measure(tables: Tables) -> Values:
        both = [cosines(tables[CHANGE], method).set_index(["a", "b"])["cosine"] for method in (first, second)]
        return pseudo_values((both[0] - both[1]).reset_index(), "a", "b", "cosine")

    return measure


def _strengths(
    column: str, share: float, value: Callable[[pd.Series[float]], pd.Series[float]], methods: Sequence[str]
) -> Callable[[Tables], Values]:
    """A value of the edits at a share of their strength, of one method, or less that of another."""

    def measure(tables: Tables) -> Values:
        table = tables[STRENGTHS]
        wide = _values(table[table["share"] == share], column)
        found = [value(wide[method]) for method in methods]
        return np.asarray(found[0] if len(found) == 1 else found[0] - found[1])

    return measure


def _missed(table: str, *methods: str) -> Callable[[Tables], str]:
    """How many edits of these methods are not at the wanted change."""

    def remark(tables: Tables) -> str:
        edits = tables[table].query("method in @methods", local_dict={"methods": methods})
        missed = int((~edits["matched"]).sum())
        return f"{missed} of {len(edits)} edits missed the wanted change" if missed else ""

    return remark


def _loco(
    what: str,
    measure: Callable[[Tables], Values],
    second: str,
    table: str,
    *,
    asserts: str = "",
    duel: bool = False,
    **words: str,
) -> Claim:
    """A row about LOCO's directions and others; a second measure if it asserts nothing."""
    return Claim(
        "LOCO Table 1",
        "loco/table1",
        what,
        measure,
        asserts,
        **words,  # type: ignore[arg-type]
        role="claim" if asserts else "second",
        remark=_missed(table, "loco", second),
        duel=duel,
    )


def _asyrp(quantity: str, measure: Callable[[Tables], Values], *, asserts: str = "", **words: str) -> Claim:
    """A row about edits of h; a second measure if it asserts nothing."""
    return Claim(
        "Asyrp h-space",
        "asyrp/h_space",
        quantity,
        measure,
        asserts,
        **words,  # type: ignore[arg-type]
        role="claim" if asserts else "second",
    )


PULLBACK = NAMES["local"]
DAMAGE = (
    "Methods change different things, so they are compared where each has moved the attribute that the mask belongs to "
    "by half a standard deviation; whoever cannot has lost."
)
TRAINED = "Δh is the difference of mean h with and without the attribute; Asyrp trains it with CLIP."

CLAIMS: tuple[Claim, ...] = (
    _loco(
        f"local success, LOCO − {PULLBACK}, at equal change",
        _difference(CHANGE, "local_success", "loco", "local"),
        "local",
        CHANGE,
        asserts="Edits along LOCO's directions change one thing and no other more often than those of the pullback.",
        because="People judged this in the paper. Here an attribute predictor does: exactly one attribute moves, at "
        "equal perceptual change, so that a weak edit cannot win by doing little.",
        refuted="The pullback's edits succeed more often.",
    ),
    _loco(
        f"log precision, LOCO − {PULLBACK}, at equal change",
        _difference(CHANGE, "precision", "loco", "local", logs=True),
        "local",
        CHANGE,
    ),
    _loco(
        f"success that transfers, LOCO − {PULLBACK}, at equal change",
        _transferred("loco", "local"),
        "local",
        CHANGE,
        asserts="LOCO's directions also work on another picture, more often than the pullback's.",
        because="A direction found at one sample is tried on the next, as it is; it transfers if it is a local success "
        "at the first and moves the same attribute the same way at the second.",
        refuted="The pullback's directions transfer more often.",
    ),
    _loco(
        f"cosine of the changes of attributes here and on the next sample, LOCO − {PULLBACK}, at equal change",
        _difference(CHANGE, "transfer", "loco", "local"),
        "local",
        CHANGE,
    ),
    _loco(
        f"SSIM, samples that LOCO wins less those that {PULLBACK} wins, as a share, at equal change of the attribute",
        _duel("ssim", "loco", "local", 1),
        "local",
        TARGET,
        asserts="LOCO's edits keep the structure of the picture better than the pullback's.",
        because=DAMAGE,
        refuted="The pullback's edits keep more.",
        duel=True,
    ),
    _loco(
        f"SSIM, LOCO − {PULLBACK}, at equal change",
        _difference(CHANGE, "ssim", "loco", "local"),
        "local",
        CHANGE,
    ),
    _loco(
        f"perceptual change, samples that LOCO wins less those that {PULLBACK} wins, as a share, at equal change of "
        "the attribute",
        _duel("change", "loco", "local", -1),
        "local",
        TARGET,
        duel=True,
    ),
    _loco(
        f"log of the change outside the mask, {NAMES['x0']} − LOCO, at equal change inside",
        _difference(INSIDE, "outside", "x0", "loco", logs=True),
        "x0",
        INSIDE,
        asserts="LOCO's directions act in the region that they are made for, and less outside of it.",
        because="The mask is exact: where the factor shows in this portrait. Against the same map without a mask, at "
        "equal change inside, which leaves strength out.",
        refuted="LOCO's directions change more outside.",
    ),
    _loco(
        f"log of the change outside the mask, {PULLBACK} − LOCO, at equal change inside",
        _difference(INSIDE, "outside", "local", "loco", logs=True),
        "local",
        INSIDE,
    ),
    _asyrp(
        "cosine between two samples' changes of attributes, one Δh − one Δx for all, at equal change",
        _more_alike("asyrp", "supervised"),
        asserts="The same Δh has the same effect on different pictures, as the same change of x has not.",
        because=f"{TRAINED} Δx is that difference of x_t, so that both are told the same.",
        refuted="The effects of the same Δx are more alike.",
    ),
    _asyrp("cosine between two samples' changes of attributes, one Δh for all", _alike("asyrp")),
    _asyrp(
        "½ − the relative departure from linearity at ½ Δh",
        _strengths("departure", 0.5, lambda departure: 0.5 - departure, ["asyrp"]),
        asserts="The effect is linear in Δh: half of it changes the attributes by half.",
        because="A departure of 1 is an effect that is there at once, or not yet, at half of Δh; one nearer to 0 than "
        f"to that counts as linear. All attributes together, so that no small change is divided by. {TRAINED}",
        refuted="The effect at half of Δh is nearer to none or to all than to half.",
    ),
    _asyrp(
        "relative departure from linearity at half the strength, Δx − Δh",
        _strengths("departure", 0.5, lambda departure: departure, ["supervised", "asyrp"]),
    ),
    _asyrp(
        "cosine of the effect of −Δh with the opposite of the effect of Δh",
        _strengths("cosine", -1.0, lambda cosine: cosine, ["asyrp"]),
        asserts="A negative Δh does the opposite.",
        because=f"The cosine is over all attributes; 0 is what two unrelated effects have. {TRAINED}",
        refuted="−Δh and Δh change the attributes the same way.",
    ),
    _asyrp(
        "distance from the data, random Δx − random Δh, at equal change",
        _difference(CHANGE, "off_data", "random", "random_h"),
        asserts="h is robust: a random Δh leaves a realistic picture, where a random change of the noise ruins it.",
        because="The paper adds noise of equal length to h and to ε. Here x_t takes the place of ε, and equal change "
        "of the picture that of equal length, which has no meaning across two spaces.",
        refuted="Pictures of random Δh lie farther from the data.",
    ),
)
