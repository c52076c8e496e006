"""What is known of file formats: headers, pixels, and the places where metadata lies. Stages above use it."""
