import pytest

from trainyard.audio.corpora import find
from trainyard.errors import DataError

# Folders and class numbers of files of the published sample.
PUBLISHED = {
    "coughing/2AV8_4_1_0_44_0_0_0.wav",
    "crying/71OW_11_8_0_22_0_0_0.wav",
    "laughing/3S0D_12_8_0_16_0_0_0.wav",
    "teeth-grinding/1U9R_1_3_0_16_0_0_0.wav",
    "throat-clearing/0DYI_6_11_1_45_0_0_0.wav",
    "tongue-clicking/06RU_2_7_1_38_0_0_0.wav",
    "yawning/0DYI_5_10_1_12_0_1_0.wav",
}


def test_numbers_mean_the_classes_of_the_published_folders(tmp_path, tree):
    corpus = find("nonverbal_vocalization_dataset", tree(tmp_path, PUBLISHED))
    assert {file.id for file in corpus.files} == PUBLISHED
    for file in corpus.files:
        assert corpus.classes[file.label] == file.id.split("/")[0]
        assert file.group == file.id.split("/")[1][:4]


def test_recordings_need_no_class_folder(tmp_path, tree):
    corpus = find(
        "nonverbal_vocalization_dataset", tree(tmp_path, {"samples/" + name.split("/")[1] for name in PUBLISHED})
    )
    assert corpus.classes == (
        "teeth-grinding",
        "tongue-clicking",
        "coughing",
        "yawning",
        "throat-clearing",
        "crying",
        "laughing",
    )


@pytest.mark.parametrize(
    "bad",
    [
        "coughing/2AV8_5_1_0_44_0_0_0.wav",  # 5 is yawning
        "coughing/2AV8_16_1_0_44_0_0_0.wav",
        "coughing/2AV8_4_1_2_44_0_0_0.wav",
        "coughing/2AV8_4_1_0_44_0_0.wav",
    ],
)
def test_a_number_that_contradicts_its_folder_or_means_nothing_is_refused(tmp_path, tree, bad):
    with pytest.raises(DataError) as raised:
        find("nonverbal_vocalization_dataset", tree(tmp_path, PUBLISHED | {bad}))
    assert (raised.value.value, raised.value.place) == ((bad,), str(tmp_path))
