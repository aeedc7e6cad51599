import signal
import threading

import pytest

from diffgeo.session.progress import Display, Interruption


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_every_item_comes_once_and_in_order():
    assert list(Display().track([3, 1, 2], "counting")) == [3, 1, 2]


def test_tasks_nest_and_a_display_can_be_used_again():
    display, seen = Display(), []
    for _ in range(2):
        for outer in display.track([0, 1], "outer"):
            seen += [(outer, inner) for inner in display.track([0, 1], "inner")]
    assert seen == 2 * [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_the_first_interrupt_lets_the_item_in_hand_finish():
    interruption, finished = Interruption(), []
    with interruption.listening():
        for item in Display().track(range(5), "work", interruption):
            if item == 2:
                interrupt()
            finished.append(item)
    assert finished == [0, 1, 2]
    assert interruption.requested


def test_the_second_interrupt_stops_at_once():
    interruption = Interruption()
    with interruption.listening():
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()


def test_the_former_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with Interruption().listening():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_other_threads_leave_the_signals_alone():
    seen = []

    def work():
        with Interruption().listening() as interruption:
            seen.append((interruption.requested, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
