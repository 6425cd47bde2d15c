"""`python -m unsloth_ft`: the command line, where the entry point is not on the PATH."""

from unsloth_ft.cli import main

if __name__ == "__main__":
    main()
