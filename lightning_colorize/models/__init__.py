"""All colorizers, behind one interface: `base.Model`."""
