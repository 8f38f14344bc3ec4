"""SIGTERM: noted, then obeyed as it would have been."""

from __future__ import annotations

import signal
import threading

import pytest

from netslim.training.signals import stop_on_sigterm


@pytest.fixture(autouse=True)
def _put_back():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_it_is_noted_and_then_ends_the_process_as_shells_expect():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with stop_on_sigterm() as stop:
        assert not stop.requested
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
        with pytest.raises(SystemExit) as caught:
            stop.obey()
        assert caught.value.code == 143
        stop.requested = False
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_a_block_did_not_obey_is_obeyed_at_its_end():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.raises(SystemExit), stop_on_sigterm():
        signal.raise_signal(signal.SIGTERM)


def test_the_handler_that_was_there_is_asked_first():
    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    with stop_on_sigterm() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert heard == []
        with pytest.raises(SystemExit):
            stop.obey()
        assert heard == [signal.SIGTERM]
        stop.requested = False
    signal.raise_signal(signal.SIGTERM)
    assert len(heard) == 2  # it is in place again


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with stop_on_sigterm() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert not stop.requested


def test_outside_the_main_thread_nothing_is_changed():
    seen = []

    def work():
        with stop_on_sigterm():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
