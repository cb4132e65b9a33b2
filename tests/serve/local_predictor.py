"""A predictor in this process, in the place of replicas."""

from __future__ import annotations

from pathlib import Path

from pertcast.predictor import Predictor
from pertcast_serve.config import ServeConfig
from pertcast_serve.prediction.registered import RegisteredModels
from pertcast_serve.prediction.service import BundleService
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.predict import PredictRequest
from pertcast_serve.services import PredictedProfiles


class LocalPredictor(RegisteredModels):
    """A predictor without replicas: it answers for one bundle at once, and knows which models there are."""

    def __init__(self, config: ServeConfig, bundle: Path) -> None:
        super().__init__(config)
        self.service = BundleService(Predictor.from_bundle(bundle))

    async def predict(self, request: PredictRequest, media_type: str) -> bytes | Problem:
        served = self.registry.resolve(request.model)
        answer = served if isinstance(served, Problem) else self.service.answer([request])[0]
        return answer if isinstance(answer, Problem) else answer.body(media_type)

    async def profiles(self, request: PredictRequest) -> PredictedProfiles | Problem:
        served = self.registry.resolve(request.model)
        answer = served if isinstance(served, Problem) else self.service.answer([request])[0]
        return answer if isinstance(answer, Problem) else answer.profiles()

    async def check(self) -> None:
        return None
