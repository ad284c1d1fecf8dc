from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier

from trainyard.config.schema import SplitOptions
from trainyard.errors import DataError
from trainyard.text.dataset import split_texts
from trainyard.text.schema import TextData
from trainyard.text.sources import find
from trainyard.text.sources.sentences import EMOTIONS, load


def test_the_same_sentences_always_and_more_of_them_begin_alike():
    few, many = load(60), load(200)
    assert few.texts == load(60).texts == many.texts[:60]
    np.testing.assert_array_equal(few.labels, many.labels[:60])
    assert few.texts != load(60, seed=1).texts
    # So that another version of Python or NumPy, or a change of words, does not pass in silence.
    assert few.texts[3] == (
        "i am not furious about the broken window while the garden is in the second drawer and we met at the station 🙂"
    )


def test_sentences_are_distinct_and_have_no_one_or_several_emotions():
    made = load(1600)
    assert len(set(made.texts)) == len(set(made.ids)) == 1600
    assert made.classes == EMOTIONS
    assert made.labels.sum(axis=0).min() > 100
    sizes = Counter(made.labels.sum(axis=1).tolist())
    assert set(sizes) == {0, 1, 2, 3}
    assert min(sizes.values()) > 30
    assert not made.labels[made.labels[:, EMOTIONS.index("neutral")]].sum(axis=1).max() > 1


def test_one_label_each_where_one_is_allowed():
    made = find(TextData(sentences=300, multi_label=False, classes=("joy", "anger")))
    assert made.classes == ("joy", "anger")
    assert made.labels.shape == (300,)
    assert set(made.labels.tolist()) == {0, 1}


def test_an_unknown_emotion_is_refused():
    with pytest.raises(DataError) as raised:
        load(5, classes=("angst", "joy"))
    assert (raised.value.value, raised.value.place) == ("angst", "data.classes")
    assert "anger, fear" in raised.value.remedy


def test_words_tell_most_of_it_and_not_all():
    data = split_texts(load(1600), name="s", split=SplitOptions(val_fraction=0.0, test_fraction=0.25))
    train, test = data.indices("train"), data.indices("test")
    texts = np.array(data.texts, dtype=object)
    words = TfidfVectorizer(ngram_range=(1, 2)).fit(texts[train])
    model = OneVsRestClassifier(LogisticRegression(C=20)).fit(words.transform(texts[train]), data.labels[train])
    found = f1_score(data.labels[test], model.predict(words.transform(texts[test])), average="macro")
    assert 0.85 < found < 0.98
