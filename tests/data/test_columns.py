"""Files in columns: what is a sentence, what is left out, and what is refused with its line."""

import pytest

from throughtime.data.columns import read_columns, read_conllu


def words(sentences):
    return [[row.cells[0] for row in sentence] for sentence in sentences]


@pytest.mark.parametrize("separator", [" ", "\t", "  "])
def test_any_number_of_columns_separated_by_tabs_or_spaces(separator):
    text = "\n".join(separator.join(cells) for cells in (["a", "X", "O"], ["b", "Y", "B-Z"]))
    ((first, second),) = read_columns(text, "a.txt")
    assert first == (1, ("a", "X", "O"))
    assert second == (2, ("b", "Y", "B-Z"))


def test_a_tab_separates_words_that_have_spaces():
    assert words(read_columns("New York\tB-LOC\n", "a.txt")) == [["New York"]]


@pytest.mark.parametrize("empty", ["", "   ", "\t", " \t "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_of_spaces_ends_a_sentence(empty, end):
    text = end.join(["a O", empty, empty, "b O", "c O", empty, ""])
    assert words(read_columns(text, "a.txt")) == [["a"], ["b", "c"]]


def test_marks_of_documents_are_no_words_and_end_a_sentence():
    text = "-DOCSTART- -X- O O\n\na X O O\n-DOCSTART- -DOCSTART- O\nb X O O\n"
    assert words(read_columns(text, "a.txt")) == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a X O\n\nb O\n", r"a.txt, line 3: expected 3 columns .* as in line 1, got 2: 'b O'"),
        ("a\tO\nb c\tO\tO\n", r"a.txt, line 2: expected 2 columns separated by tabs .*, got 3"),
        ("a\tO\n\tO\n", r"a.txt, line 2: expected text in every column, got an empty column 1"),
        ("a\nb\n", r"a.txt, line 1: expected at least 2 columns.*, got 1: 'a'"),
        ("", "a.txt: expected sentences with a word on each line, got no words"),
        ("\n \n-DOCSTART- O\n", "a.txt: expected sentences .*, got no words"),
    ],
)
def test_a_malformed_file_is_answered_with_the_line(text, message):
    with pytest.raises(ValueError, match=message):
        read_columns(text, "a.txt")


def conllu(*ids):
    return "".join(f"{i}\tw{i}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n" for i in ids)


def test_conllu_without_comments_ranges_and_empty_nodes():
    text = f"# text = x\n{conllu('1-2', 1, 2, '2.1', '2.2', 3)}\n# y\n{conllu('0.1', 1)}"
    sentences = read_conllu(text, "a.conllu")
    assert [[row.cells[1] for row in sentence] for sentence in sentences] == [
        ["w1", "w2", "w3"],
        ["w1"],
    ]
    assert sentences[1][0].line == 11


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\ta\tb\n", "a.conllu, line 1: expected 10 columns of CoNLL-U .*, got 3"),
        (conllu(1).replace("NOUN", ""), "line 1: expected 10 columns .*, got an empty column 4"),
        (conllu(1, 3), r"line 2: expected the word 2 of its sentence, .* got '3'"),
        (conllu(2), r"line 1: expected the word 1 of its sentence, .* got '2'"),
        (conllu("x"), r"line 1: expected the word 1 of its sentence, .* got 'x'"),
        ("# only a comment\n", "got no words"),
    ],
)
def test_malformed_conllu_is_answered_with_the_line(text, message):
    with pytest.raises(ValueError, match=message):
        read_conllu(text, "a.conllu")
