import pytest
import torch

from gridless.training.threads import threads_beside_workers


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("workers", "expected"), [(0, 4), (1, 3), (3, 1), (9, 1)])
def test_each_worker_is_left_a_core(workers, expected, four_threads):
    with threads_beside_workers(workers) as inside:
        assert inside == expected == torch.get_num_threads()
    assert torch.get_num_threads() == 4


def test_threads_come_back_after_an_error(four_threads):
    with pytest.raises(KeyboardInterrupt), threads_beside_workers(2):
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 4
