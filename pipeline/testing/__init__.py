"""What every part has to keep: subclass a case in a test file of your own, and pytest runs it.

from equigrid.testing import ModelCase

class TestTwoLayer(ModelCase):
    model = {"perceptron:TwoLayer": {"hidden": 8}}
"""

from equigrid.testing import asserts  # noqa: F401 - before seconds of imports
from equigrid.testing.data import DatasetCase
from equigrid.testing.models import ModelCase
from equigrid.testing.objectives import ObjectiveCase
from equigrid.testing.scores import MetricCase, TaskCase

__all__ = ["DatasetCase", "MetricCase", "ModelCase", "ObjectiveCase", "TaskCase"]
