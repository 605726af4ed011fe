"""``python -m diag`` is ``diag``."""

try:
    from diag.cli import main

    main()
except KeyboardInterrupt:  # before main listens
    raise SystemExit(130) from None
