"""The job `fit` of the server."""

from __future__ import annotations

import numpy as np

from pipeline.service.handlers import fitting
from recognizer.rule import Thresholds
from recognizer.store.people import Store
from recognizer.store.write import NewSample


def test_denied_faces_are_strangers_to_the_head(tmp_path, monkeypatch):
    vectors = np.eye(3, 16, dtype=np.float32)
    backgrounds = []
    fit_head = fitting.fit_head

    def noted(gallery, background, *arguments, **more):
        backgrounds.append(background)
        return fit_head(gallery, background, *arguments, **more)

    monkeypatch.setattr(fitting, "fit_head", noted)
    with Store.open(tmp_path / "people.db", "c", 16, Thresholds(0.7, 0.5)) as store:
        store.add("Ann", vectors[:1])
        store.add("Bob", vectors[1:2])
        store.deny("Ann", [NewSample(vectors[2])])
        fitting.fit_people(store, lambda *_: None)
    assert (backgrounds[0] == vectors[2]).all(axis=1).any()
