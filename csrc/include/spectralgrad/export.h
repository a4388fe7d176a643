#pragma once

// The library is built with hidden visibility. Its interface are the functions and classes with this mark.
#if defined(_WIN32)
#if defined(SPECTRALGRAD_BUILDING)
#define SPECTRALGRAD_API __declspec(dllexport)
#else
#define SPECTRALGRAD_API __declspec(dllimport)
#endif
#else
#define SPECTRALGRAD_API __attribute__((visibility("default")))
#endif
