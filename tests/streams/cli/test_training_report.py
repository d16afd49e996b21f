import numpy as np
from PIL import Image

from streams.cli.training_report import loss_plot


def test_the_plot_falls_as_the_losses_do():
    plot = np.asarray(loss_plot([1 / (1 + step / 20) for step in range(300)]).convert("RGB")).astype(int)
    red = (np.abs(plot - (164, 70, 31)).sum(2) < 30).nonzero()
    left, right = red[0][red[1] < 200].mean(), red[0][red[1] > 760].mean()
    assert left < right - 50
    assert isinstance(loss_plot([0.5]), Image.Image)
