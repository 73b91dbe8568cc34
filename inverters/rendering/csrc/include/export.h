// Functions that the library shows to the outside.
#pragma once

#if defined(_WIN32)
#define INVID_EXPORT extern "C" __declspec(dllexport)
#else
#define INVID_EXPORT extern "C" __attribute__((visibility("default")))
#endif
