"""Many sweeps in one scan: what is measured after each, and some configurations."""

import jax


def repeat(sweep, state, key, *, sweeps: int, every: int | None, show):
    """The last state, records with a leading axis of sweeps, and what was kept.

    sweep(state, key) gives a state and a record. After each `every` sweeps show(state)
    is kept, with a leading axis of sweeps / every; None if every is None.
    """
    keys = jax.random.split(key, sweeps)
    if every is None:
        state, records = jax.lax.scan(sweep, state, keys)
        return state, records, None
    if sweeps % every:
        raise ValueError(f"every must divide sweeps: {every} does not divide {sweeps}")

    def several(state, keys):
        state, records = jax.lax.scan(sweep, state, keys)
        return state, (records, show(state))

    groups = keys.reshape(-1, every)
    state, (records, kept) = jax.lax.scan(several, state, groups)
    records = jax.tree.map(lambda r: r.reshape(sweeps, *r.shape[2:]), records)
    return state, records, kept
