"""Run as a script: set the paper in a folder, in a process of its own. What typst remembers ends with it.

Arguments: the folder, the PDF to write, the date in seconds, the folders of fonts.
"""

import sys

import typst


def main(root: str, out: str, timestamp: str, *folders: str) -> None:
    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=list(folders))
    made = typst.compile(
        f"{root}/main.typ",
        root=root,
        font_paths=fonts,
        ignore_system_fonts=True,
        format="pdf",
        pdf_standards="a-3a",
        timestamp=int(timestamp),
    )
    with open(out, "wb") as file:
        file.write(made)


if __name__ == "__main__":
    main(*sys.argv[1:])
