"""Networks trained apart that answer together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gridless.models.base import Network
from gridless.pyramid import Pyramid, PyramidSettings


class Ensemble(Network):
    """Networks of the same task, features, classes and pyramid, whose probabilities are averaged.

    z = log (1/E) Σ_e softmax(z_e). It takes E times as long as one of them, but for the search, which they share.

    Args:
        networks: E of them, at least one.

    Raises:
        ValueError: none, or they differ in what they see or say.

    Source: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
    NeurIPS 2017.

    Example:
        >>> from gridless.models import build_model
        >>> networks = [build_model("pccn", in_channels=1, num_classes=2, num_neighbors=4) for _ in range(3)]
        >>> pyramid = Pyramid.build(torch.rand(20, 3), networks[0].pyramid_settings)
        >>> Ensemble(networks).eval()(torch.rand(20, 1), pyramid).exp().sum(dim=1).allclose(torch.ones(20))
        True
    """

    name = "ensemble"

    def __init__(self, networks: Sequence[Network]) -> None:
        if not networks:
            raise ValueError("Ensemble: at least one network is needed")
        first = networks[0]
        for other in networks[1:]:
            if _interface(other) != _interface(first):
                raise ValueError(
                    "Ensemble: networks must have the same task, features, classes and pyramid, got "
                    f"{_interface(first)} and {_interface(other)}"
                )
        super().__init__(
            {
                "in_channels": first.config["in_channels"],
                "num_classes": first.config["num_classes"],
                "networks": [{"name": network.name, "config": network.config} for network in networks],
            }
        )
        self.task = first.task  # type: ignore[misc]  # that of its networks
        self.networks = nn.ModuleList(networks)
        # What the first one's training reached is not what all reach together.
        self.metadata = {name: value for name, value in first.metadata.items() if name != "training"}
        self.metadata["seeds"] = [seed for network in networks for seed in _seeds(network)]

    @property
    def pyramid_settings(self) -> PyramidSettings:
        first = self.networks[0]
        assert isinstance(first, Network)
        return first.pyramid_settings

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C_in] → log probabilities [N or B, num_classes]."""
        scores = torch.stack([network(features, pyramid).log_softmax(dim=1) for network in self.networks])
        return scores.logsumexp(dim=0) - torch.log(scores.new_tensor(float(len(self.networks))))


def _seeds(network: Network) -> list[int | None]:
    """Of its training, or of each one's if it is several."""
    recipe = network.metadata.get("recipe", {})
    return list(network.metadata.get("seeds", [recipe.get("seed")]))


def _interface(network: Network) -> tuple[object, ...]:
    """What has to be the same."""
    notes = network.metadata
    return (
        network.task, network.config["in_channels"], network.config["num_classes"], network.pyramid_settings,
        notes.get("inputs"), notes.get("labels"),
    )  # fmt: skip
