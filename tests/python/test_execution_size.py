"""The number of steps in an execution."""

from kerasfit.execution_size import ExecutionSizer


def test_executions_take_a_tenth_of_a_second():
    sizer = ExecutionSizer()
    for _ in range(1000):
        sizer.record(steps=1, seconds=1e-3)
    assert sizer.steps == 100
    sizer.record(steps=100, seconds=1.0)
    assert sizer.steps == 10


def test_larger_batches_make_executions_shorter():
    sizer = ExecutionSizer()
    sizer.begin(batch_size=32)
    for _ in range(10):
        sizer.record(steps=1, seconds=1e-3)
    sizer.begin(batch_size=320)
    assert sizer.steps == 10


def test_a_fixed_number_of_steps_is_kept():
    sizer = ExecutionSizer()
    sizer.begin(batch_size=32, fixed=7)
    sizer.record(steps=7, seconds=10.0)
    assert sizer.steps == 7
