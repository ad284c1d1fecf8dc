import pytest

from trainyard.audio.corpora import find
from trainyard.errors import DataError

# Names as published: iOS counts seconds and writes capitals, Android milliseconds.
PUBLISHED = [
    "belly_pain/549a46d8-9c84-430e-ade8-97eae2bef787-1430130772174-1.7-m-48-bp.wav",
    "belly_pain/643D64AD-B711-469A-AF69-55C0D5D3E30F-1430138495-1.0-m-72-bp.wav",
    "burping/5afc6a14-a9d8-45f8-b31d-c79dd87cc8c6-1430757039803-1.7-m-48-bu.wav",
    "discomfort/999bf14b-e417-4b44-b746-9253f81efe38-1430844958178-1.7-m-04-ch.wav",
    "discomfort/999BF14B-E417-4B44-B746-9253F81EFE38-1430844979-1.7-m-04-dc.wav",
]
CLEANED = "donateacry_corpus_cleaned_and_updated_data/"


def test_the_folder_is_the_label_even_against_the_reason_and_the_app_the_group(tmp_path, tree):
    root = tree(tmp_path, [CLEANED + name for name in PUBLISHED])
    (root / "donateacry-android-upload-bucket").mkdir()
    (root / "donateacry-android-upload-bucket/a-1-1.7-m-04-hu.3gp").write_text("x")
    corpus = find("donateacry", root)
    assert corpus.classes == ("belly_pain", "burping", "discomfort")
    assert [corpus.classes[file.label] for file in corpus.files] == [file.id.split("/")[1] for file in corpus.files]
    groups = [file.group for file in corpus.files if "discomfort" in file.id]
    assert groups == ["999bf14b-e417-4b44-b746-9253f81efe38"] * 2
    assert len({file.group for file in corpus.files}) == 4


@pytest.mark.parametrize(
    "bad",
    [
        "silence/549a46d8-9c84-430e-ade8-97eae2bef787-1430130772174-1.7-m-48-bp.wav",
        "burping/549a46d8-9c84-430e-ade8-1430130772174-1.7-m-48-bu.wav",
        "burping/549a46d8-9c84-430e-ade8-97eae2bef787-1430130772174-1.7-x-48-bu.wav",
    ],
)
def test_wrong_names_and_folders_are_refused(tmp_path, tree, bad):
    with pytest.raises(DataError) as raised:
        find("donateacry", tree(tmp_path, [*PUBLISHED, bad]))
    assert (raised.value.value, raised.value.place) == ((bad,), str(tmp_path))
