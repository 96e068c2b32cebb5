"""What every part has to keep: subclass a case in a test file of your own, and pytest runs it.

from pipeline.testing import ModelCase

class TestTwoLayer(ModelCase):
    model = {"perceptron:TwoLayer": {"hidden": 8}}
"""

from pipeline.testing.data import DatasetCase
from pipeline.testing.models import ModelCase
from pipeline.testing.objectives import ObjectiveCase
from pipeline.testing.scores import MetricCase, TaskCase

__all__ = ["DatasetCase", "MetricCase", "ModelCase", "ObjectiveCase", "TaskCase"]

if not __debug__:
    raise RuntimeError("the cases are asserts, which PYTHONOPTIMIZE (python -O) takes away")
