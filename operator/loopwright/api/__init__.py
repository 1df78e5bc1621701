"""The API of `loopwright.io/v1alpha1` as pydantic models; the CRDs are generated from them.

This package is pure: it may be imported by the operator, by Ray pods and by the CLI, so it
depends on nothing but pydantic.
"""
