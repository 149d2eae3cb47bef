"""How long a process counts as alive after its last heartbeat. All processes of an installation agree on it."""

LEASE_S = 10.0
"""By the lease clock of the store, or of the embedded queue's file.

The lease clock is a number of seconds that is kept there. Each heartbeat advances it by the time since the one before,
but by no more than `MAX_STEP_S`. While the store is away, or the whole machine stands still, or a wall clock jumps, no
lease ends; a process that alone sends no heartbeat is dead after `LEASE_S`.
"""
MAX_STEP_S = 3.0
