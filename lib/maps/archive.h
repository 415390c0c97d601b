// Writes what `mta maps` gives out: arrays for programs, and one page for people.
#pragma once

#include "lib/core/json.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace mta::maps {

/// A folder that takes its final place only when it is whole.
class MapArchive {
 public:
  /// Throws UserError when `folder` holds something else than an earlier archive.
  explicit MapArchive(std::filesystem::path folder);
  /// Removes what was written unless finish() was reached.
  ~MapArchive();
  MapArchive(const MapArchive&) = delete;
  MapArchive& operator=(const MapArchive&) = delete;

  /// Throws UserError when maps of `values` numbers in all would make the page too large to open:
  /// known before they are computed.
  void require_room(double values) const;

  /// Writes `file` (relative, ending with .npy): float32, C order. Returns {"file", "shape",
  /// "range": [least, most]}.
  Json write_array(const std::string& file, const at::Tensor& values);
  /// The same, and puts it into the page, as 16 bit floats.
  Json write_map(const std::string& file, const at::Tensor& values);
  void write_json(const std::string& file, const Json& json);

  /// Ends the page index.html with what it shows: {"runs": [maps.json of each]}; then replaces the
  /// earlier archive. Throws std::runtime_error when anything could not be written (a full disk).
  void finish(const Json& shown);

 private:
  std::filesystem::path folder_, fresh_;
  std::ofstream page_;
  double page_bytes_ = 0;
};

}  // namespace mta::maps
