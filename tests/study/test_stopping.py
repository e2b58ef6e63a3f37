"""Asked to stop: by a signal, or because the time is over; on the main thread and on others."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from resnet_bench.study.stopping import Stopped, StopRequest, TimeIsUp


def test_the_time_is_over_once_the_clock_says_so() -> None:
    now = 100.0
    stop = StopRequest(clock=lambda: now)
    with stop.within(2):
        now += 2 * 3600 - 1
        assert not stop.asked
        stop.raise_if_asked()
        now += 1
        assert stop.asked
        with pytest.raises(TimeIsUp) as caught:
            stop.raise_if_asked()
    assert caught.value.exit_code == 0 and not stop.asked
    with stop.within(None):
        now += 1e9
        assert not stop.asked


def test_a_signal_counts_more_than_the_time() -> None:
    stop = StopRequest(clock=lambda: 0.0)
    with stop.listening(), stop.politely(), stop.within(0):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped) as caught:
            stop.raise_if_asked()
    assert caught.value.exit_code == 130
    assert isinstance(caught.value, KeyboardInterrupt) and not isinstance(caught.value, Exception)


def test_another_thread_leaves_signals_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def listen() -> None:
        with StopRequest().listening() as stop:
            seen.append((stop.asked, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
