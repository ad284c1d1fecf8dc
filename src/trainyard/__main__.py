"""`python -m trainyard`, as torchrun starts it."""

from trainyard.cli.main import main

if __name__ == "__main__":
    main()
