"""How fast this machine trains: from finished runs, else from a few steps."""

from __future__ import annotations

from resnet_bench.busy import busy
from resnet_bench.errors import is_out_of_memory
from resnet_bench.execution import COMPILE_GAIN, EAGER
from resnet_bench.study.plan import Plan, network_macs, typical_rate, work
from resnet_bench.study.session import Session
from resnet_bench.timing import time_in_turn

PROBE_SECONDS = 0.05  # at least: a step of a real network takes longer


def rate_of(session: Session, plan: Plan) -> float:
    """Work per second of one run after the other, from finished runs, else from a few steps."""
    rate = plan.measured_rate(session.fingerprint.device)
    return rate or probed_rate(session, plan) * (COMPILE_GAIN if session.execution.mode == "compile" else 1)


def probed_rate(session: Session, plan: Plan) -> float:
    """Work per second in eager mode, from a few steps; a rough guess if even these do not fit into the memory."""
    try:
        return probe_rate(plan, session)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return typical_rate(session.data.device.type, session.fingerprint.threads)  # the runs will say what is wrong


@busy("trying a few steps")
def probe_rate(plan: Plan, session: Session) -> float:
    """Work per second of the smallest network to do, in eager mode, from a few steps on this device."""
    run = min(plan.todo, key=lambda run: work(run, plan.shape))
    job = session.job(run, EAGER)
    step, draws = job.make_step(job.initial_state("")), job.stream.draws(0)
    seconds = time_in_turn([lambda: step(draws)], session.data.device, 1, PROBE_SECONDS, warmup_steps=1)[0][0]
    return run.batch_size / seconds * network_macs(run, plan.shape)
