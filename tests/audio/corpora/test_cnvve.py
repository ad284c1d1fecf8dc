from trainyard.audio.corpora import find
from trainyard.audio.corpora.cnvve import LABELS


def test_the_folder_is_the_label_and_the_second_part_the_speaker(tmp_path, tree):
    root = tree(tmp_path, [f"raw/{label.title()}/{label}_{n:02d}_x_{n}.wav" for label in LABELS for n in (1, 2)])
    corpus = find("cnvve", root)
    assert corpus.classes == LABELS
    assert corpus.warnings == []
    assert {file.group for file in corpus.files} == {"speaker 01", "speaker 02"}
    for file in corpus.files:
        assert corpus.classes[file.label] in file.id.casefold().split("/")[1]
        assert f"_{file.group.split()[1]}_" in file.id
        assert file.split == ""
