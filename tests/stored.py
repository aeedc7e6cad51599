"""Results by way of a store."""


def fetch(store, stage, determinants, compute):
    """The stored record, or the computed one, which is then stored."""
    with store.slot(stage, determinants) as slot:
        if slot.record is None:
            slot.record = compute()
    return slot.record
