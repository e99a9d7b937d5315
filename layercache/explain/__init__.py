"""Explains where a layer or an image would be looked for, and which way its bytes would come."""
