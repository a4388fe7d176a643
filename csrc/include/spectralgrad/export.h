#pragma once

// The library is built with hidden visibility; only what carries this mark is its interface.
#if defined(_WIN32)
#if defined(SPECTRALGRAD_BUILDING)
#define SPECTRALGRAD_API __declspec(dllexport)
#else
#define SPECTRALGRAD_API __declspec(dllimport)
#endif
#else
#define SPECTRALGRAD_API __attribute__((visibility("default")))
#endif
