"""SIGKILL and SIGTERM in the middle of traffic: every event that got a 2xx is handled."""

import asyncio
import signal
import time
from collections.abc import Callable

import aiohttp

from hookline.cli.sample_callbacks import Callback, callbacks_of, send_callback
from hookline.schemas.envelope import moment, seal
from hookline.schemas.provider import AnySource, Request
from tests.end_to_end.processes import Project, eventually

CALLBACKS = 1000
AT_ONCE = 16


def event_id_of(source: AnySource, callback: Callback) -> str:
    identity = source.provider.identify(Request(source.provider.sign(callback.body, source, callback.at_s).body))
    sealed = seal(
        identity, b"", provider=source.provider.name, source=source.name, content_type="", received_at=moment(0)
    )
    return sealed.id


async def send_while(project: Project, act: Callable[[], object]) -> set[str]:
    """Send a thousand callbacks of some providers, and act after a third of them. Returns the ids that got a 2xx."""
    sources = [project.settings.sources[name] for name in ("classroom", "voice", "krtc-main", "calls", "meetings")]
    share = CALLBACKS // len(sources)
    sequences = [list(callbacks_of(source, source.provider.samples, share)) for source in sources]
    mixed = [
        (source, callback)
        for step in zip(*sequences, strict=True)
        for source, callback in zip(sources, step, strict=True)
    ]
    remaining = iter(enumerate(mixed))
    accepted: set[str] = set()

    async def send_rest(session: aiohttp.ClientSession) -> None:
        for number, (source, callback) in remaining:
            if number == CALLBACKS // 3:
                await asyncio.to_thread(act)
            answer = await send_callback(session, project.url(source.name), source, callback)
            if answer.status == 200:
                accepted.add(event_id_of(source, callback))

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(send_rest(session) for _ in range(AT_ONCE)))
    return accepted


async def all_handled(project: Project, accepted: set[str]) -> None:
    assert len(accepted) > CALLBACKS // 4
    await eventually(lambda: accepted <= set(project.handled()))


async def test_killing_the_process_loses_no_accepted_event(project: Project) -> None:
    run = project.start("run", "counter.py")
    accepted = await send_while(project, run.kill)
    project.start("run", "counter.py")
    await all_handled(project, accepted)


async def test_killing_the_ingress_loses_no_accepted_event(project: Project) -> None:
    project.start("worker", "counter.py")
    ingress = project.start("ingress")

    def restart() -> None:
        ingress.kill()
        project.start("ingress")

    await all_handled(project, await send_while(project, restart))


async def test_killing_a_worker_leaves_its_events_to_the_other(project: Project) -> None:
    first, _ = project.start("worker", "counter.py"), project.start("worker", "counter.py")
    project.start("ingress")
    accepted = await send_while(project, first.kill)
    assert len(accepted) == CALLBACKS
    await all_handled(project, accepted)


async def test_a_stop_refuses_callbacks_but_loses_and_repeats_no_event(project: Project) -> None:
    run = project.start("run", "counter.py")
    codes: list[int] = []
    accepted = await send_while(project, lambda: codes.append(run.stop()))
    assert codes == [0]
    second = project.start("run", "counter.py")
    await all_handled(project, accepted)
    second.stop()
    assert len(project.handled()) == len(set(project.handled()))


def test_signals_that_come_until_its_end_do_not_change_the_exit_code(embedded_project: Project) -> None:
    process = embedded_project.start("ingress")
    while process.popen.poll() is None:
        process.popen.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    assert process.popen.returncode == 0
