"""The names that people give to the folders of splits, in several languages and spellings."""

from __future__ import annotations

import re
import unicodedata

_TRAINED = "|".join((
    "training", "trainings", "train", "trn", "train[ _-]?val", "entra[iî]nement", "apprentissage",
    "entrenamiento", "addestramento", "treino", "treinamento", "trening", r"обуч\w*",
    r"трениров\w*", "训练", "訓練", "学習", "トレーニング", "학습", "훈련",
))  # fmt: skip
_HELD_OUT = "|".join((
    "testing", "test", "tst", "validation", "valid", "val", "dev", "evaluation", "eval",
    "hold[ _-]?out", "held[ _-]?out", "validierung", "testen", "prueba", "pruebas", "validaci[oó]n",
    "prova", "validazione", "teste", "valida[cç][aã]o", r"тест\w*", r"валидац\w*", r"провер\w*",
    "测试", "測試", "验证", "驗證", "テスト", "検証", "評価", "테스트", "검증", "평가",
))  # fmt: skip
_WHAT = r"set|data|daten|datos|dataset|images?|imgs?|pics|pictures|split"
# `01_train`, `images-train`; `train_set`, `train2017`, `训练集`.
_BEFORE = rf"(?:(?:\d{{1,2}}|{_WHAT})[ ._-]+)?"
_AFTER = rf"(?:[ _-]*(?:{_WHAT}|集|セット|셋))?(?:[ _-]?(?:19|20)\d\d)?"
_NAMED = {
    False: re.compile(f"{_BEFORE}(?:{_TRAINED}){_AFTER}"),
    True: re.compile(f"{_BEFORE}(?:{_HELD_OUT}){_AFTER}"),
}
_PAIRED = re.compile(f"({_TRAINED}|{_HELD_OUT})[ _-]?([AB])", re.I)
_UNLABELLED = re.compile(r"unlabell?ed|unsup(?:ervised)?|no[ _-]?labels?")


def split_of(name: str) -> bool | None:
    """Tell a folder of held-out images (True) from one to train on (False) by its name."""
    plain = unicodedata.normalize("NFC", name)
    paired = _PAIRED.fullmatch(plain)
    for form in (plain, paired[1] if paired else ""):
        for is_held_out, named in _NAMED.items():
            if named.fullmatch(form.casefold()):
                return is_held_out
    return None


def side_of(name: str) -> str:
    """The class of a paired split, `A` of trainA; empty for another."""
    paired = _PAIRED.fullmatch(unicodedata.normalize("NFC", name))
    return paired[2].upper() if paired else ""


def is_unlabelled(name: str) -> bool:
    """Tell whether a folder's name says that what is in it has no labels."""
    return _UNLABELLED.fullmatch(name.casefold()) is not None
