// npy files, and the page as it grows.
#include "lib/maps/archive.h"

#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/plot/tensors.h"

#include <ATen/core/Tensor.h>
#include <fmt/core.h>

#include <stdexcept>
#include <string_view>
#include <vector>

namespace mta::embedded {
std::string_view maps_style_css();
std::string_view maps_body_html();
std::string_view maps_page_js();
}  // namespace mta::embedded

namespace mta::maps {
namespace {

namespace fs = std::filesystem;

/// A page larger than this takes a browser minutes and gigabytes to open.
constexpr double kMostPageBytes = 400e6;

std::string base64(std::string_view bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  constexpr std::size_t kGroup = 3;
  std::string text;
  text.reserve((bytes.size() + 2) / kGroup * 4);
  for (std::size_t i = 0; i < bytes.size(); i += kGroup) {
    std::uint32_t bits = 0;
    const std::size_t count = std::min(kGroup, bytes.size() - i);
    for (std::size_t k = 0; k < kGroup; ++k) {
      bits = bits << 8U | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k <= kGroup; ++k) {
      text += k <= count ? kDigits[bits >> (18 - 6 * k) & 63U] : '=';
    }
  }
  return text;
}

std::string_view bytes_of(const at::Tensor& contiguous) {
  return {static_cast<const char*>(contiguous.const_data_ptr()),
          static_cast<std::size_t>(contiguous.nbytes())};
}

/// Inside a script element, "</" would end it.
std::string script_text(const Json& json) {
  std::string text = json.dump();
  for (std::size_t at = 0; (at = text.find("</", at)) != std::string::npos; at += 3) {
    text.replace(at, 2, "<\\/");
  }
  return text;
}

void require_replaceable(const fs::path& folder) {
  if (!fs::exists(folder) || fs::exists(folder / "maps.json")) return;
  if (fs::is_directory(folder) && fs::is_empty(folder)) return;
  throw UserError("--out " + folder.string(), "is there already, and holds no maps",
                  "name a new folder");
}

}  // namespace

MapArchive::MapArchive(fs::path folder) : folder_(std::move(folder)) {
  require_replaceable(folder_);
  fresh_ = folder_;
  fresh_ += ".new";
  fs::remove_all(fresh_);
  fs::create_directories(fresh_);
  page_.open(fresh_ / "index.html", std::ios::binary);
  page_ << "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
           "<title>mta maps</title>\n<style>\n"
        << embedded::maps_style_css() << "</style>\n</head>\n<body>\n"
        << embedded::maps_body_html();
}

MapArchive::~MapArchive() {
  page_.close();
  std::error_code ignored;  // a folder that stays behind must not hide the error that led here
  fs::remove_all(fresh_, ignored);
}

void MapArchive::require_room(double values) const {
  constexpr double kBytesOfValue = 2 * 4.0 / 3;  // a 16 bit float in base64
  const double bytes = page_bytes_ + values * kBytesOfValue;
  if (bytes <= kMostPageBytes) return;
  throw UserError("--out " + folder_.string(),
                  fmt::format("the page would take {:.0f} MB or more (at most {:.0f})", bytes / 1e6,
                              kMostPageBytes / 1e6),
                  "choose fewer --samples, --layers, --heads or --stages, or a window by --rows "
                  "and --columns");
}

Json MapArchive::write_array(const std::string& file, const at::Tensor& values) {
  const at::Tensor whole = values.to(at::kCPU, at::kFloat).contiguous();
  const std::vector<std::int64_t> shape(whole.sizes().begin(), whole.sizes().end());
  fs::create_directories((fresh_ / file).parent_path());
  std::ofstream stream(fresh_ / file, std::ios::binary);
  const std::string_view bytes = bytes_of(whole);
  stream << plot::npy_header(shape) << bytes;
  stream.close();
  if (!stream) throw std::runtime_error((fresh_ / file).string() + ": cannot be written");
  return {{"file", file},
          {"shape", shape},
          {"range", {whole.min().item<float>(), whole.max().item<float>()}}};
}

Json MapArchive::write_map(const std::string& file, const at::Tensor& values) {
  Json entry = write_array(file, values);
  const at::Tensor halves = values.to(at::kCPU, at::kHalf).contiguous();
  const std::string text = base64(bytes_of(halves));
  page_bytes_ += double(text.size());
  page_ << "<script type=\"text/plain\" id=\"" << file << "\">" << text << "</script>\n";
  return entry;
}

void MapArchive::write_json(const std::string& file, const Json& json) {
  constexpr int kIndent = 1;
  fs::create_directories((fresh_ / file).parent_path());
  write_file_atomically(fresh_ / file, json.dump(kIndent) + "\n");
}

void MapArchive::finish(const Json& shown) {
  page_ << "<script type=\"application/json\" id=\"index\">" << script_text(shown)
        << "</script>\n<script>\n"
        << embedded::maps_page_js() << "</script>\n</body>\n</html>\n";
  page_.close();
  if (!page_) throw std::runtime_error((fresh_ / "index.html").string() + ": cannot be written");
  replace_folder(fresh_, folder_);
}

}  // namespace mta::maps
