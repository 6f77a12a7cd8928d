"""Everything around `Trainer.fit`: command line, callbacks, loggers, devices and launchers."""
